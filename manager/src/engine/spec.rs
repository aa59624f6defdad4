//! What a machine is made from.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use wire::proxy_config::ProxyConfig;
use wire::seed::Seed;
use wire::upstreams::UpstreamSet;
use wire::{Incarnation, MachineId, PoolName};

use super::desired::Slot;
use crate::config::{Config, Hardware, LB, Service};

mod lb_settings;

/// What a machine is for. The hypervisor keeps it with the machine: it is all that a restarted manager
/// needs to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinePurpose {
    /// Its name.
    pub id: MachineId,
    /// The service it belongs to, or `lb`.
    pub service: PoolName,
    /// Which build of it this is.
    pub incarnation: Incarnation,
    /// Its address.
    pub address: IpAddr,
    /// The id of the image it was made from; the driver fills it in, where it has images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Everything that is needed to create a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineSpec {
    /// What it is for.
    pub purpose: MachinePurpose,
    /// Its MAC address, a function of its IP address.
    pub mac: [u8; 6],
    /// What it is given before it starts.
    pub seed: Seed,
    /// What a virtual machine is made of.
    pub hardware: Hardware,
    /// Whether it gets the disk that the last machine of its name had, if there was one, and leaves it to the next.
    pub persistent: bool,
}

/// The spares that a service is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparesWanted {
    /// How many are to wait.
    pub count: u32,
    /// What they are made of.
    pub hardware: Hardware,
}

/// The settings of the sample service, and of any program that takes the same ones.
#[derive(Serialize)]
struct ServiceSettings<'a> {
    machine: &'a str,
    listen: String,
    heartbeat_interval_ms: u64,
}

impl MachineSpec {
    /// A machine of `service` in `slot`.
    pub fn of_service(config: &Config, service: &Service, slot: &Slot, incarnation: Incarnation) -> Self {
        let settings = ServiceSettings {
            machine: slot.id.as_str(),
            listen: SocketAddr::new(slot.address, service.port).to_string(),
            heartbeat_interval_ms: config.heartbeat.interval_ms,
        };
        let secrets = service.secrets().map(|(name, value)| (name.clone(), value.clone()));
        let seed = Seed {
            environment: service.spec.environment.clone(),
            secrets: secrets.collect(),
            ..seed(config, slot, &service.program, toml_of(&settings))
        };
        let spec = Self::new(slot, incarnation, seed, service.hardware.clone());
        MachineSpec { persistent: service.spec.persistent, ..spec }
    }

    /// The host's balancer, which can serve from the first moment, and has these priorities for its addresses.
    pub fn of_lb(
        config: &Config,
        slot: &Slot,
        incarnation: Incarnation,
        ranks: &BTreeMap<IpAddr, u8>,
        upstreams: UpstreamSet,
        proxy_config: ProxyConfig,
    ) -> Self {
        let settings = lb_settings::of(config, slot, ranks);
        let seed = Seed {
            upstreams: Some(upstreams),
            proxy_config: Some(proxy_config),
            ..seed(config, slot, LB, toml_of(&settings))
        };
        Self::new(slot, incarnation, seed, config.lb.clone())
    }

    fn new(slot: &Slot, incarnation: Incarnation, seed: Seed, hardware: Hardware) -> Self {
        MachineSpec {
            purpose: MachinePurpose {
                id: slot.id.clone(),
                service: slot.service.clone(),
                incarnation,
                address: slot.address,
                image: None,
            },
            mac: crate::address_pool::mac_of(slot.address),
            seed,
            hardware,
            persistent: false,
        }
    }
}

fn seed(config: &Config, slot: &Slot, program: &str, settings: String) -> Seed {
    Seed {
        machine: slot.id.clone(),
        address: slot.address,
        prefix: config.network.prefix_len(),
        gateway: config.gateway,
        program: program.to_owned(),
        settings,
        upstreams: None,
        proxy_config: None,
        // Filled in when the machine is made: certificates need a clock and random numbers.
        credentials: None,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}

/// These settings are structs of texts and numbers, which TOML can always express.
fn toml_of(settings: &impl Serialize) -> String {
    toml::to_string(settings).unwrap_or_default()
}
