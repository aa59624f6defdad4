//! What this manager sees of the cluster, and what its balancer was told.

use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts};
use wire::cluster::{ClusterView, HostView};

use super::{Adder, signed};
use crate::engine::Figures;

/// The gauges of the cluster.
pub(super) struct ClusterGauges {
    whole: IntGauge,
    missing: IntGauge,
    warnings: IntGauge,
    desired: IntGauge,
    peer_alive: IntGaugeVec,
    peer_age: GaugeVec,
    vip_holders: IntGaugeVec,
    vip_misplaced: IntGaugeVec,
    frozen: IntGauge,
    agreed: IntGauge,
    pushed: IntGauge,
    confirmed: IntGauge,
}

impl ClusterGauges {
    pub(super) fn new(add: &Adder<'_>) -> prometheus::Result<Self> {
        let age = Opts::new(
            "manager_peer_last_word_age_seconds",
            "How long ago another host's manager was heard; absent until it was heard once.",
        );
        Ok(ClusterGauges {
            whole: add.gauge(
                "manager_cluster_whole",
                "1 while every host is alive, every desired machine ready, and every VIP held by one balancer.",
            )?,
            missing: add.gauge("manager_cluster_missing", "What the cluster lacks to be whole.")?,
            warnings: add.gauge("manager_warnings", "What a person should know about this host.")?,
            desired: add.gauge("manager_machines_desired", "How many machines this host is to have.")?,
            peer_alive: add.gauges(
                "manager_peer_alive",
                "Whether another host's manager is heard (1) or not (0).",
                &["peer"],
            )?,
            peer_age: add.add(GaugeVec::new(age, &["peer"])?)?,
            vip_holders: add.gauges(
                "manager_vip_holders",
                "How many balancers say that they hold a VIP.",
                &["vip"],
            )?,
            vip_misplaced: add.gauges(
                "manager_vip_misplaced",
                "1 while a VIP is to be moved to another balancer, so that all are spread evenly.",
                &["vip"],
            )?,
            frozen: add.gauge(
                "manager_services_frozen",
                "Whether edits of services are refused because no etcd member answers with a quorum (1) or not (0).",
            )?,
            agreed: add.gauge(
                "manager_services_generation",
                "The edit of services that all hosts agreed on and this one goes by; 0 where each has its own.",
            )?,
            pushed: add.gauge(
                "manager_upstreams_generation_pushed",
                "The newest generation of the upstream set that this host's balancer was given.",
            )?,
            confirmed: add.gauge(
                "manager_upstreams_generation_confirmed",
                "The generation of the upstream set that this host's balancer confirmed to use; 0 for none.",
            )?,
        })
    }

    pub(super) fn set(&self, view: &ClusterView, figures: &Figures) {
        self.whole.set(i64::from(view.whole));
        self.missing.set(signed(view.missing.len()));
        // A peer that was forgotten has no series any more.
        self.peer_alive.reset();
        self.peer_age.reset();
        for host in &view.hosts {
            if host.name == view.host {
                self.warnings.set(signed(host.warnings.len()));
                self.desired.set(i64::from(host.desired));
                continue;
            }
            let peer = &[host.name.as_str()];
            self.peer_alive.with_label_values(peer).set(i64::from(host.alive));
            if let Some(age_ms) = host.heard_ms_ago {
                let age = std::time::Duration::from_millis(age_ms).as_secs_f64();
                self.peer_age.with_label_values(peer).set(age);
            }
        }
        for vip in &view.vips {
            let address = vip.address.to_string();
            self.vip_holders.with_label_values(&[&address]).set(signed(vip.holders.len()));
            let should = |host: &&HostView| vip.should.as_ref() == Some(&host.name);
            let should = view.hosts.iter().find(should).and_then(|host| host.lb.as_ref());
            let misplaced = should.is_some_and(|lb| vip.holders.iter().any(|holder| *holder != lb.id));
            self.vip_misplaced.with_label_values(&[&address]).set(i64::from(misplaced));
        }
        let agreed = view.agreed.as_ref();
        self.frozen.set(i64::from(agreed.is_some_and(|agreed| agreed.frozen.is_some())));
        self.agreed.set(agreed.map_or(0, |agreed| generation(agreed.generation)));
        self.pushed.set(generation(figures.generation_pushed));
        self.confirmed.set(generation(figures.generation_confirmed));
    }
}

fn generation(generation: wire::Generation) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}
