//! Tables for people.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Table, presets};
use wire::cluster::{ClusterEvent, ClusterView, HostView, MachineView};
use wire::vip::RouterState;

/// The whole cluster.
pub(super) fn cluster(view: &ClusterView) -> String {
    let mut text = String::new();
    for vip in &view.vips {
        let holders: Vec<&str> = vip.holders.iter().map(wire::MachineId::as_str).collect();
        let holders = if holders.is_empty() { "nobody".to_owned() } else { holders.join(" and ") };
        let _ = writeln!(text, "VIP {} is held by {holders}", vip.address);
    }
    for host in view.hosts.iter().filter(|host| !host.driver.is_empty()) {
        let _ = writeln!(text, "Host {} makes its machines with {}", host.name, host.driver);
    }
    let mut rows = table(&["HOST", "MACHINE", "SERVICE", "ADDRESS", "PHASE", "FOR", "BUILT", "NOTE"]);
    for host in &view.hosts {
        if host.machines.is_empty() {
            rows.add_row([host_name(host), "-".into(), "-".into(), host.address.to_string()]);
        }
        for machine in &host.machines {
            rows.add_row([
                host_name(host),
                machine.id.to_string(),
                machine.service.to_string(),
                machine.address.to_string(),
                machine.phase.to_string(),
                age(machine.for_ms),
                machine.incarnation.to_string(),
                note(host, machine),
            ]);
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

/// The machines of one host.
pub(super) fn machines(machines: &[MachineView]) -> String {
    let mut rows = table(&["MACHINE", "SERVICE", "ADDRESS", "PHASE", "FOR", "BUILT", "RESTARTS", "REASON"]);
    for machine in machines {
        rows.add_row([
            machine.id.to_string(),
            machine.service.to_string(),
            machine.address.to_string(),
            machine.phase.to_string(),
            age(machine.for_ms),
            machine.incarnation.to_string(),
            machine.restarts.to_string(),
            machine.reason.clone(),
        ]);
    }
    rows.to_string()
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

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
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
    let notes: Vec<String> = looping.into_iter().chain(condition).chain(held).collect();
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
