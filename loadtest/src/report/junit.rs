//! The verdict as JUnit XML, which every CI system shows: one case for the run itself, one for each
//! threshold and one for each fault.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Xml, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use super::fault::Fault;
use super::text::by_kind;

/// Writes a report's verdict.
///
/// # Errors
///
/// What writing says.
pub fn write(report: &Report, to: impl Write) -> io::Result<()> {
    let mut suite = TestSuite::new("loadtest");
    suite.add_property(("url", report.url.as_str()));
    suite.add_property(("command", report.environment.command_line().as_str()));
    suite.set_time(seconds(report.duration_ms));
    suite.add_test_case(run(report));
    suite.add_test_cases(thresholds(report));
    suite.add_test_cases(report.faults.iter().enumerate().map(|(index, fault)| of_fault(index + 1, fault)));
    suite.set_system_out(report.to_string());
    let mut xml = Xml::new("loadtest");
    xml.add_test_suite(suite);
    xml.serialize(to).map_err(io::Error::other)
}

/// An invalid or interrupted run is an error, in JUnit's words: nothing was found out.
fn run(report: &Report) -> TestCase {
    let mut reasons = report.invalid_reasons.clone();
    if report.interrupted {
        reasons.push("it was interrupted".to_owned());
    }
    let mut case = case(
        "run",
        "the run is sound",
        (!reasons.is_empty()).then(|| reasons.join("\n")),
        NonSuccessKind::Error,
    );
    case.set_time(seconds(report.duration_ms));
    case
}

/// What was required; each reason for a miss that is no requirement's is one case more. Of an invalid run nothing is
/// said, so its goals are skipped.
fn thresholds(report: &Report) -> Vec<TestCase> {
    let mut missed = report.missed_reasons.clone();
    let mut cases = Vec::new();
    for threshold in &report.thresholds {
        let reason = threshold.missed();
        missed.retain(|missed| Some(missed) != reason.as_ref());
        let mut case = case("threshold", &threshold.goal, reason, NonSuccessKind::Failure);
        if threshold.met.is_none() {
            case.status = TestCaseStatus::skipped();
            case.status.set_message("the run is invalid");
        }
        case.set_system_out(format!("it was {}", threshold.found()));
        cases.push(case);
    }
    if let Some(goal) = report.min_availability_percent {
        let of_goal = missed.iter().position(|reason| reason.starts_with("availability is below"));
        let reason = of_goal.map(|index| missed.remove(index));
        let reason = reason.map(|reason| format!("{reason}: {} %", report.availability_percent));
        cases.push(case("threshold", &format!("availability>={goal}"), reason, NonSuccessKind::Failure));
    }
    // A fault that has not recovered has a case of its own.
    missed.retain(|reason| !reason.contains("had not recovered"));
    cases.extend(
        missed
            .into_iter()
            .map(|reason| case("threshold", &reason.clone(), Some(reason), NonSuccessKind::Failure)),
    );
    cases
}

fn of_fault(number: usize, fault: &Fault) -> TestCase {
    let not =
        fault.recovered_after_ms.is_none().then(|| "it had not recovered when the run ended".to_owned());
    let mut case = case("fault", &format!("{number}: {}", fault.fault), not, NonSuccessKind::Failure);
    case.set_time(seconds(fault.recovered_after_ms.unwrap_or_default()));
    let victim = fault.victim.as_deref().unwrap_or("-");
    case.set_system_out(format!(
        "victim {victim}, at {:.3} s, outage {:.1} ms, unanswered {:.1} ms, failed {} {}",
        fault.at_ms / 1000.0,
        fault.outage_ms,
        fault.unanswered_ms,
        fault.failed,
        by_kind(&fault.failed_by_kind),
    ));
    case
}

fn case(class: &str, name: &str, wrong: Option<String>, kind: NonSuccessKind) -> TestCase {
    let status = match wrong {
        None => TestCaseStatus::success(),
        Some(reason) => {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(reason);
            status
        }
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("loadtest.{class}"));
    case
}

fn seconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}
