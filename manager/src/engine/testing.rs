//! Sets scenes for the engine's tests: hosts, a clock that only the test moves, and an obedient world.

mod controls;
mod effects;
mod guest;
mod host;
mod load;
mod scratch;
mod size;
mod world;

pub(crate) use controls::STRANGER;
pub(crate) use guest::Guest;
pub(crate) use load::Load;
pub(crate) use world::{Host, Kind, World};

use std::net::IpAddr;

use super::{Command, Engine, Outcome, Time, Words};
use crate::config::Config;

/// The configuration of host `a` with so many machines of the sample service.
pub(crate) fn config(replicas: u32) -> Config {
    host("a", 1, 2, "192.168.10.10-192.168.10.16", "master", replicas)
}

/// The configuration of host `b`, the peer of `a`.
pub(crate) fn config_of_peer(replicas: u32) -> Config {
    host("b", 2, 1, "192.168.10.20-192.168.10.26", "secondary", replicas)
}

/// A host with every setting that the two differ in.
pub(crate) fn host(name: &str, own: u8, peer: u8, pool: &str, role: &str, replicas: u32) -> Config {
    parse(&format!(
        "name = \"{name}\"\naddress = \"192.168.10.{own}\"\npeers = [\"192.168.10.{peer}\"]\n\
         gateway = \"192.168.10.{own}\"\nhypervisor = \"namespaces\"\naddress_pool = [\"{pool}\"]\n\
         [[vip]]\naddress = \"192.168.10.120\"\nvrid = 50\nrole = \"{role}\"\n\
         [[service]]\nname = \"stateless\"\nreplicas = {replicas}\n"
    ))
}

/// The configuration that `text` is.
pub(crate) fn parse(text: &str) -> Config {
    Config::check(&kit::config::Source::from_text("host.toml", text)).expect("valid")
}

/// What the manager of `engine` answers to one at `from` that carries out `command`.
pub(crate) fn take(engine: &mut Engine, now: Time, from: IpAddr, command: &Command) -> Outcome {
    let told = match command {
        Command::Tell { snapshot, base, .. } => match snapshot.words(base.as_ref()) {
            Words::Whole(all) => engine.receive(now, from, *all),
            Words::Changes(changes) => engine.receive_changes(now, from, changes),
        },
        Command::Gossip { packets, .. } => {
            let answer = engine.gossip(now, from, packets);
            return answer.map_or_else(|problem| Outcome::Failed(problem.detail), Outcome::Gossiped);
        }
        _ => return Outcome::Done,
    };
    match told {
        Ok(ack) => Outcome::Told(ack),
        Err(problem) => problem.held.map_or(Outcome::Failed(problem.detail), Outcome::Stale),
    }
}
