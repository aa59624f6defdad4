//! The trace of a run, for people.

use super::world::World;
use crate::engine::Command;

impl World {
    /// A line of the trace, which is written only where somebody reads it.
    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        let at = self.now.saturating_sub(self.options.origin);
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>11.6} {}", at.as_secs_f64(), line()));
        }
    }
}

/// A command in a few words, for the trace.
pub(super) fn words(command: &Command) -> String {
    match command {
        Command::Save(desired) => format!("save epoch {}", desired.epoch),
        Command::List => "list".to_owned(),
        Command::ReadUsage => "read usage".to_owned(),
        Command::ReadTraffic { .. } => "read traffic".to_owned(),
        Command::Create(spec) => format!("create {} at {}", spec.purpose.id, spec.purpose.address),
        Command::KeepSpares(wanted) => {
            let counts = wanted.iter().map(|(service, wanted)| format!(" {service} {}", wanted.count));
            format!("keep spares{}", counts.collect::<String>())
        }
        Command::Stop(machine) => format!("stop {machine}"),
        Command::Fence(machine) => format!("fence {machine}"),
        Command::Watch { machine, incarnation, .. } => format!("watch {machine}.{incarnation}"),
        Command::Push { set, .. } => format!("push set {}", set.generation),
        Command::Configure { config, .. } => format!("configure {}", config.generation),
        Command::ReadLb { documents, .. } => {
            format!("read lb{}", if *documents { " and documents" } else { "" })
        }
        Command::HandOver { .. } => "hand over".to_owned(),
        Command::Forward { peer, .. } => format!("ask {peer} for a switchover"),
        Command::TellUplink { lost, .. } => format!("uplink lost: {lost}"),
        Command::Rank { priorities, .. } => format!("priorities {priorities:?}"),
        Command::AskTargets(targets) => format!("ask {} targets", targets.len()),
        Command::Tell { peer, snapshot, base } => {
            let what = if base.is_some() { "changes to " } else { "" };
            format!("tell {peer} {what}{}.{}", snapshot.epoch(), snapshot.version())
        }
        Command::Gossip { peer, packets } => format!("gossip with {peer}: {} packets", packets.len()),
        Command::Probe(address) => format!("probe {address}"),
        Command::TakeBack(service) => format!("take back {service}"),
        Command::Resign { lb } => format!("resign for {lb}"),
    }
}
