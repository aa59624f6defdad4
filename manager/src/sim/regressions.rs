//! Every seed that ever failed, by what it found. A fault that is added or weighed differently makes other
//! runs of the same seeds; what was found has a test of its own beside the code it was found in, too.

use super::run::run;
use super::world::Options;

fn keeps_all_promises(seeds: &[u64]) {
    for seed in seeds {
        let report = run(Options::of(*seed));
        assert!(report.violation.is_none(), "seed {seed}: {:?}", report.violation);
    }
}

/// A push of a manager's earlier life arrived late, and had the generation of the first push of the next:
/// the balancer took the second for the first, and the manager believed for ever that its own was in use.
#[test]
fn a_late_push_of_an_earlier_life_is_not_taken_for_the_new_one() {
    keeps_all_promises(&[144]);
}

/// A push was not answered in time and took effect later, when what it told had changed back: the
/// manager thought that there was nothing to tell.
#[test]
fn a_push_that_takes_effect_after_it_was_given_up_is_corrected() {
    keeps_all_promises(&[2315]);
}

/// A machine stood still in the middle of its speaker's turn: the speaker took the proxy for hung.
#[test]
fn a_machine_that_stood_still_does_not_take_its_proxy_for_hung() {
    keeps_all_promises(&[3525, 4469]);
}

/// A holder that had stood still unknowingly read an old claim of a lower one before the new claim of a
/// higher one, and answered the old one before it let go.
#[test]
fn a_holder_that_wakes_up_answers_no_old_claim() {
    keeps_all_promises(&[65]);
}

/// Where the checkers were wrong: rebuilt machines taken for those they replaced, clocks that had jumped,
/// stamps and announcements that were still on their way, a cluster without machines.
#[test]
fn what_only_looked_wrong() {
    keeps_all_promises(&[
        177, 180, 243, 317, 441, 517, 519, 527, 533, 566, 644, 672, 707, 780, 782, 806, 844, 857, 865, 887,
        945, 1044, 1314, 1447, 1449, 1679, 1901, 1916, 1932, 2112, 2156, 2161, 2546, 2905, 3295, 3325, 4215,
        5629, 5717,
    ]);
}
