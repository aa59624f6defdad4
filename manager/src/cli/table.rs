//! Tables for people.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::Cell;
use wire::cluster::{ClusterEvent, ClusterView, HostView, MachineView, Phase, VipView};
use wire::vip::RouterState;

use super::print::{phase, table};

/// The whole cluster.
pub(super) fn cluster(view: &ClusterView, wide: bool) -> String {
    let mut text = String::new();
    for vip in &view.vips {
        let holders: Vec<&str> = vip.holders.iter().map(wire::MachineId::as_str).collect();
        let holders = if holders.is_empty() { "nobody".to_owned() } else { holders.join(" and ") };
        let _ = writeln!(text, "VIP {} is held by {holders}{}", vip.address, to_move(view, vip));
    }
    for host in view.hosts.iter().filter(|host| !host.driver.is_empty()) {
        let _ = writeln!(text, "Host {} makes its machines with {}", host.name, host.driver);
    }
    let mut header = vec!["HOST", "MACHINE", "SERVICE", "ADDRESS", "PHASE", "FOR", "BUILT", "NOTE"];
    if wide {
        header.extend(["RESTARTS", "IMAGE", "REASON"]);
    }
    let mut rows = table(&header);
    for host in &view.hosts {
        if host.machines.is_empty() {
            rows.add_row([host_name(host), "-".into(), "-".into(), host.address.to_string()]);
        }
        for machine in &host.machines {
            let mut row = vec![
                Cell::new(host_name(host)),
                Cell::new(&machine.id),
                Cell::new(&machine.service),
                Cell::new(machine.address),
                phase(machine.phase),
                Cell::new(age(machine.for_ms)),
                Cell::new(machine.incarnation),
                Cell::new(note(host, machine)),
            ];
            if wide {
                row.extend(further(machine));
            }
            rows.add_row(row);
        }
    }
    let _ = writeln!(text, "{rows}");
    if view.whole {
        text.push_str("The cluster is whole.");
    } else {
        text.push_str("The cluster is not whole:");
        for reason in &view.missing {
            let _ = write!(text, "\n  {reason}");
        }
    }
    // Some of them are why it is not whole, and were said.
    let warnings = view.hosts.iter().flat_map(|host| host.warnings.iter().map(move |what| (host, what)));
    for (host, warning) in warnings.filter(|(_, warning)| !view.missing.contains(warning)) {
        let _ = write!(text, "\nWarning, host {}: {warning}", host.name);
    }
    text
}

/// Where an address is to go, if it is to go anywhere.
fn to_move(view: &ClusterView, vip: &VipView) -> String {
    let should = |host: &&HostView| vip.should.as_ref() == Some(&host.name);
    let should = view.hosts.iter().find(should).and_then(|host| host.lb.as_ref());
    match (should, vip.holders.as_slice()) {
        (Some(should), [holder]) if *holder != should.id => format!(", and is to go to {}", should.id),
        _ => String::new(),
    }
}

/// The machines of one host.
pub(super) fn machines(machines: &[MachineView], wide: bool) -> String {
    let mut header = vec!["MACHINE", "SERVICE", "ADDRESS", "PHASE", "FOR", "BUILT", "RESTARTS", "REASON"];
    if wide {
        header.insert(7, "IMAGE");
    }
    let mut rows = table(&header);
    for machine in machines {
        let mut row = vec![
            Cell::new(&machine.id),
            Cell::new(&machine.service),
            Cell::new(machine.address),
            phase(machine.phase),
            Cell::new(age(machine.for_ms)),
            Cell::new(machine.incarnation),
        ];
        row.extend(
            further(machine).into_iter().enumerate().filter(|(at, _)| wide || *at != 1).map(|(_, cell)| cell),
        );
        rows.add_row(row);
    }
    rows.to_string()
}

/// Restarts, image and reason.
fn further(machine: &MachineView) -> [Cell; 3] {
    [
        Cell::new(machine.restarts),
        Cell::new(machine.image.as_deref().unwrap_or("-")),
        Cell::new(&machine.reason),
    ]
}

/// One event, in one line.
pub(super) fn event(event: &ClusterEvent) -> String {
    let seconds = event.unix_ms / 1000;
    let (hours, minutes, rest) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!(
        "{hours:02}:{minutes:02}:{rest:02}.{:03}Z  {:<18} {:<20} {}",
        event.unix_ms % 1000,
        event.kind,
        event.subject,
        event.message
    )
}

fn host_name(host: &HostView) -> String {
    if host.alive { host.name.to_string() } else { format!("{} (lost)", host.name) }
}

fn note(host: &HostView, machine: &MachineView) -> String {
    let held: Vec<String> = host
        .lb
        .iter()
        .filter(|lb| lb.id == machine.id)
        .flat_map(|lb| &lb.vips)
        .filter(|vip| vip.state == RouterState::Master)
        .map(|vip| format!("holds {}", vip.address))
        .collect();
    let looping = machine.crash_looping.then(|| "crash-looping".to_owned());
    let condition = machine.condition.map(|condition| condition.to_string());
    let drained = machine.drained.then(|| "drained".to_owned());
    // Its phase says so where it does not run.
    let standby = (machine.standby && machine.phase != Phase::Standby).then(|| "standby".to_owned());
    let notes: Vec<String> =
        drained.into_iter().chain(standby).chain(looping).chain(condition).chain(held).collect();
    notes.join(", ")
}

fn age(milliseconds: u64) -> String {
    let seconds = Duration::from_millis(milliseconds).as_secs();
    match seconds {
        0..=119 => format!("{}.{}s", seconds, milliseconds % 1000 / 100),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
