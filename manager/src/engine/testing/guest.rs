//! A machine as the hypervisor has it. One that is a balancer behaves like one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vrrp::fitness::FIT_FROM;
use wire::MachineId;
use wire::proxy_config::ProxyConfig;
use wire::upstreams::UpstreamSet;
use wire::vip::{RouterCounters, RouterState, RouterStatus, VipStatus};

use super::load::Spent;
use crate::config::{Config, LB, Preference, Vip};
use crate::engine::{LbReading, MachinePurpose, MachineSpec, Outcome};

/// A machine that exists: its address is taken until it is destroyed.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) purpose: MachinePurpose,
    pub(crate) running: bool,
    pub(crate) frozen: bool,
    /// Whether it has come as far as answering.
    pub(crate) up: bool,
    /// What it was told of its host's uplink.
    pub(crate) uplink_lost: Option<bool>,
    /// The priorities it was told.
    pub(crate) ranks: BTreeMap<IpAddr, u8>,
    /// What it runs.
    pub(crate) program: String,
    pub(crate) set: UpstreamSet,
    pub(crate) config: ProxyConfig,
    pub(super) spent: Spent,
}

impl Guest {
    pub(super) fn new(spec: &MachineSpec) -> Self {
        Guest {
            purpose: spec.purpose.clone(),
            running: true,
            frozen: false,
            up: false,
            uplink_lost: None,
            ranks: BTreeMap::new(),
            program: spec.seed.program.clone(),
            set: spec.seed.upstreams.clone().unwrap_or_default(),
            config: spec.seed.proxy_config.clone().unwrap_or_default(),
            spent: Spent::default(),
        }
    }

    pub(crate) fn is_lb(&self) -> bool {
        self.purpose.service.as_str() == LB
    }

    pub(crate) fn answers(&self) -> bool {
        self.running && !self.frozen && self.up
    }

    pub(super) fn push(&mut self, set: &UpstreamSet) -> Outcome {
        if set.generation < self.set.generation {
            return Outcome::Stale(self.set.generation);
        }
        self.set = set.clone();
        Outcome::Done
    }

    pub(super) fn configure(&mut self, config: &ProxyConfig) -> Outcome {
        if config.generation < self.config.generation {
            return Outcome::Stale(self.config.generation);
        }
        self.config = config.clone();
        Outcome::Done
    }

    pub(super) fn read(
        &self,
        host: &Config,
        holders: &BTreeMap<IpAddr, MachineId>,
        documents: bool,
    ) -> Outcome {
        let state = |vip: IpAddr| match holders.get(&vip) == Some(&self.purpose.id) {
            true => RouterState::Master,
            false => RouterState::Backup,
        };
        let priority = |vip: &Vip| match &vip.preference {
            Preference::Role(role) => role.priority(),
            // Until it is told.
            _ => self.ranks.get(&vip.address).copied().unwrap_or(FIT_FROM),
        };
        let routers = host.vips.iter().map(|vip| RouterStatus {
            address: vip.address,
            vrid: vip.vrid,
            state: state(vip.address),
            priority: priority(vip),
            base: Some(priority(vip)),
            holder: None,
            reason: "elected".to_owned(),
            for_ms: 0,
            counters: RouterCounters::default(),
        });
        Outcome::LbRead(Box::new(LbReading {
            vip: VipStatus { routers: routers.collect(), ..VipStatus::default() },
            upstreams: documents.then(|| self.set.clone()),
            config_generation: documents.then_some(self.config.generation),
            pools: None,
        }))
    }
}
