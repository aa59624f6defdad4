//! The checkers bite: each finds a mistake that was made on purpose, within a bounded number of seeds.

use super::bug::Bug;
use super::checks::Checker;
use super::run::run;
use super::world::Options;

/// A mistake is found within so many seeds.
const SEEDS: u64 = 240;

/// Whether `checker` is the first to find `bug`, in some of the first seeds.
fn finds(checker: Checker, bug: Bug) {
    let found = (1..=SEEDS).find_map(|seed| {
        let report = run(Options { bug: Some(bug), ..Options::of(seed) });
        report.violation.filter(|violation| violation.checker == checker)
    });
    assert!(found.is_some(), "{checker:?} does not find {bug:?} within {SEEDS} seeds");
}

#[test]
fn an_address_reused_before_its_machine_was_fenced() {
    finds(Checker::Addresses, Bug::UnconfirmedFenceCounts);
}

#[test]
fn a_replacement_at_another_address() {
    finds(Checker::Replacement, Bug::ReplacementMoves);
}

#[test]
fn two_holders_for_good() {
    finds(Checker::OneHolder, Bug::OutrankedKeepsAddress);
}

#[test]
fn no_holder_although_one_could_serve() {
    finds(Checker::OneHolder, Bug::NeverReadyAgain);
}

#[test]
fn a_machine_destroyed_because_a_peer_is_lost() {
    finds(Checker::Destruction, Bug::LostPeerKills);
}

#[test]
fn the_last_usable_upstream_removed() {
    finds(Checker::Destruction, Bug::LostPeerIsDropped);
}

#[test]
fn an_older_document_taken() {
    finds(Checker::Generations, Bug::AnyGenerationIsTaken);
}

#[test]
fn a_crash_loop_without_pauses() {
    finds(Checker::Liveness, Bug::NoPauses);
}

#[test]
fn a_machine_that_is_never_built_again() {
    finds(Checker::Liveness, Bug::FencedOnlyOnce);
}

#[test]
fn a_holder_that_wakes_up_and_speaks() {
    finds(Checker::StaleHolder, Bug::WakesWithOldClock);
}

#[test]
fn a_memory_that_grows() {
    finds(Checker::Bounds, Bug::TroublesPileUp);
}

#[test]
fn a_standby_that_nobody_starts() {
    finds(Checker::Standbys, Bug::StandbysAreNotStarted);
}

#[test]
fn a_standby_that_nobody_stops() {
    finds(Checker::Standbys, Bug::StandbysAreNotStopped);
}
