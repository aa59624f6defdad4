//! What stands beside the figures that are judged: conditions that were not the same, and what either run has only once.

use super::{Once, Unlike};
use crate::report::{Report, percent};
use crate::verdict::asked::Asked;

/// A condition's name and how a report says it.
type Condition<'a> = (&'static str, &'a dyn Fn(&Report) -> String);

/// What makes two runs hard to compare.
pub(super) fn unlike(before: &Report, after: &Report) -> Vec<Unlike> {
    let faults = |report: &Report| {
        report.faults.iter().map(|fault| fault.fault.clone()).collect::<Vec<_>>().join(", ")
    };
    let kinds = |report: &Report| {
        let kept = percent(report.connections.kept.sent, report.sent).round();
        format!("{kept} % on kept ones")
    };
    // What users reached is a result.
    let rate = |report: &Report| match report.load.users {
        0 => report.rate.to_string(),
        _ => String::new(),
    };
    let of: [Condition<'_>; 12] = [
        ("URL", &|report| report.url.clone()),
        ("load", &load),
        ("requests/s", &rate),
        ("protocol", &|report| report.load.protocol.clone()),
        ("timeout ms", &|report| report.load.timeout_ms.to_string()),
        ("seconds", &|report| format!("{:.0}", report.duration_ms / 1000.0)),
        ("connections", &kinds),
        ("faults", &faults),
        ("version", &|report| report.environment.version.clone()),
        ("processor", &|report| report.environment.cpu.clone().unwrap_or_default()),
        ("processors", &|report| report.environment.cpus.unwrap_or_default().to_string()),
        ("kernel", &|report| report.environment.kernel.clone()),
    ];
    let both = of.into_iter().map(|(what, of)| Unlike { what, before: of(before), after: of(after) });
    both.filter(|condition| condition.before != condition.after).collect()
}

/// The kind of load, without its rate.
fn load(report: &Report) -> String {
    let Asked { kind, arrivals, users, loops, think_ms, .. } = &report.load;
    match (*users, loops) {
        (0, _) => format!("{kind} loop, {arrivals} arrivals"),
        (users, None) => format!("{kind} loop, {users} users, {think_ms} ms think time"),
        (users, Some(loops)) => {
            format!("{kind} loop, {users} users, {loops} loops, {think_ms} ms think time")
        }
    }
}

/// What either run has only once.
pub(super) fn seen_once(before: &Report, after: &Report) -> Vec<Once> {
    let once = |name: &str, of: &dyn Fn(&Report) -> Option<f64>| Once {
        name: name.to_owned(),
        before: of(before),
        after: of(after),
    };
    let mut all = vec![
        once("longest outage ms", &|report| Some(report.longest_outage_ms)),
        once("longest unanswered ms", &|report| Some(report.longest_unanswered_ms)),
        once("slowest ms", &|report| report.slowest_ms),
    ];
    // The same fault at the same place of the schedule.
    for (index, fault) in before.faults.iter().enumerate() {
        let same =
            |report: &Report| report.faults.get(index).filter(|other| other.fault == fault.fault).cloned();
        if same(after).is_some() {
            let name = format!("fault {} ({})", index + 1, fault.fault);
            all.push(once(&format!("{name}: outage ms"), &|report| Some(same(report)?.outage_ms)));
            all.push(once(&format!("{name}: well after ms"), &|report| same(report)?.recovered_after_ms));
        }
    }
    all
}
