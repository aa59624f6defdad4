//! What is known of this host's own balancer, and what it ought to know.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use wire::pools::PoolsHealth;
use wire::proxy_config::ProxyConfig;
use wire::upstreams::Upstream;
use wire::vip::{RouterState, VipStatus};
use wire::{EndpointId, Generation, PoolName};

use super::Time;
use super::shared::{SharedPools, SharedSet};

/// The pools of an upstream set, without a generation.
pub(super) type Pools = BTreeMap<PoolName, Vec<Upstream>>;

/// The host's balancer.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Balancer {
    /// The highest generation that was ever used for a set.
    pub(super) generation: Generation,
    /// What it confirmed to hold, and under which generation.
    pub(super) confirmed: Option<SharedSet>,
    /// Whether it may come to hold another set than the confirmed one: a push was not answered, or one of an
    /// earlier life of this manager may be on its way. Only one above it that is confirmed ends that.
    pub(super) unsure: bool,
    /// The same of its configuration.
    pub(super) config_generation: Generation,
    /// Without what clients are shown, which is nothing to be shown to others.
    #[serde(serialize_with = "without_secrets")]
    pub(super) confirmed_config: Option<ProxyConfig>,
    /// What of it the balancer is being given.
    #[serde(serialize_with = "without_secrets")]
    pub(super) pushed_config: Option<ProxyConfig>,
    /// Which version of what clients are shown it confirmed.
    pub(super) confirmed_front: Option<u64>,
    /// Which one it is being given.
    pub(super) pushed_front: u64,
    /// Its part in the VIPs, when last asked; none while it is not there.
    pub(super) vip: Option<VipStatus>,
    /// How its pools are, when last asked; nothing of them while none of them is checked by it.
    pub(super) pools: PoolsHealth,
    /// The primaries that it is told, each as whoever decides chose it last.
    pub(super) named: BTreeMap<PoolName, EndpointId>,
    /// Whether it was asked to hand its VIPs over.
    pub(super) handed_over: bool,
    /// When to ask it again.
    pub(super) read_at: Time,
    /// When to push again after a failure.
    pub(super) push_at: Time,
    /// When to configure again after a failure.
    pub(super) configure_at: Time,
}

/// Databases are asked with passwords, and this is shown to people.
fn without_secrets<S: Serializer>(config: &Option<ProxyConfig>, serializer: S) -> Result<S::Ok, S::Error> {
    config.as_ref().map(ProxyConfig::without_secrets).serialize(serializer)
}

impl Balancer {
    /// Whether it confirmed to use exactly `pools`.
    pub(super) fn uses(&mut self, pools: &SharedPools) -> bool {
        let Some(set) = self.confirmed.as_mut().filter(|_| !self.unsure) else { return false };
        if set.pools != *pools {
            return false;
        }
        // Equal: from now on the same, which is known at once.
        if !set.pools.is_same(pools) {
            set.pools.clone_from(pools);
        }
        true
    }

    /// The next set to push: `pools` under a generation above all before it.
    pub(super) fn next_set(&mut self, pools: SharedPools) -> SharedSet {
        self.generation += 1;
        SharedSet { generation: self.generation, pools }
    }

    /// The next configuration to push.
    pub(super) fn next_config(&mut self, mut config: ProxyConfig) -> ProxyConfig {
        self.config_generation += 1;
        config.generation = self.config_generation;
        config
    }

    /// Whether it may hold a VIP, as far as is known.
    pub(super) fn may_hold_vip(&self) -> bool {
        self.vip
            .as_ref()
            .is_none_or(|vip| vip.routers.iter().any(|router| router.state != RouterState::Backup))
    }

    /// Whether it said that it holds a VIP.
    pub(super) fn holds_vip(&self) -> bool {
        let routers = self.vip.iter().flat_map(|vip| &vip.routers);
        routers.into_iter().any(|router| router.state == RouterState::Master)
    }

    /// It died: nothing that was known of its state holds any more.
    pub(super) fn forget(&mut self) {
        self.confirmed = None;
        // The next one starts above all that is on its way.
        self.unsure = false;
        self.confirmed_config = None;
        self.confirmed_front = None;
        self.vip = None;
        self.pools = PoolsHealth::default();
        self.handed_over = false;
        self.read_at = Time::ZERO;
        self.push_at = Time::ZERO;
        self.configure_at = Time::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use wire::balancing::Secret;
    use wire::checks::{Ask, Check};
    use wire::database_checks::MysqlAsk;
    use wire::proxy_config::PoolPolicy;

    use super::*;

    #[test]
    fn passwords_of_checks_are_not_shown() {
        let password = Some(Secret("planted".to_owned()));
        let ask = Ask::Mysql(MysqlAsk { user: Some("checker".to_owned()), password, galera: false });
        let policy = PoolPolicy { check: Check { ask, ..Check::default() }, ..PoolPolicy::default() };
        let config = ProxyConfig { pools: [("db".into(), policy)].into(), ..ProxyConfig::default() };
        let pushed_config = Some(config.clone());
        let balancer = Balancer { confirmed_config: Some(config), pushed_config, ..Balancer::default() };
        let shown = serde_json::to_string(&balancer).expect("JSON");
        assert!(shown.contains("checker") && !shown.contains("planted"), "{shown}");
    }
}
