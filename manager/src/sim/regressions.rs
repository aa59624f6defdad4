//! Every seed that ever failed, by what it found. A fault that is added or weighed differently makes other
//! runs of the same seeds; what was found has a test of its own beside the code it was found in, too.

use std::time::Duration;

use super::balancer::Works;
use super::run::{config, run};
use super::speaker::Turn;
use super::world::{Options, World};

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

/// A machine stood still for about as long as a proxy must be silent to count as hung: the speaker took its
/// proxy for hung, and noticed no real hang for half a minute, in which it held the VIP.
#[test]
fn a_pause_leaves_a_proxy_that_hangs_later_its_move() {
    keeps_all_promises(&[22655, 32113]);
}

/// A machine stood still while its proxy hung: afterwards its speaker took the proxy for well, held the VIP
/// with it again, and noticed the same hang no second time.
#[test]
fn a_pause_in_the_middle_of_a_hang_does_not_end_the_hang() {
    keeps_all_promises(&[62499, 74112]);
}

/// What a pause leaves to a proxy as a story of its own, for pauses of many lengths.
#[test]
fn a_standby_that_stood_still_and_holds_the_vip_later_gives_it_away_when_its_proxy_hangs() {
    let ms = Duration::from_millis;
    for pause in (250..450).step_by(10).map(ms) {
        let options = Options { faults: 0, ..Options::of(1) };
        let mut world = World::of(options, (0..2).map(|index| config(index, 2, 1)).collect());
        let lb = world.hosts[1].lb.clone();
        let holds = |world: &World| -> Vec<bool> {
            let lbs = world.hosts.iter().filter_map(|host| host.balancer()?.balancer.as_ref());
            lbs.map(|lb| !lb.has.is_empty()).collect()
        };
        world.run_for(ms(3_000));
        assert_eq!(holds(&world), [true, false]);
        world.freeze(1, &lb, false);
        world.run_for(pause);
        world.thaw(1, &lb, None);
        world.run_for(ms(1_000));
        world.checks.disturbed(world.now);
        assert!(world.speaker_turn(0, Turn::Release));
        world.run_for(ms(1_000));
        assert_eq!(holds(&world), [false, true], "after a pause of {pause:?}");
        world.hang_proxy(1, Works::Hung, ms(5_000));
        world.run_for(ms(1_000));
        assert_eq!(holds(&world), [true, false], "after a pause of {pause:?}");
        assert!(world.checks.violation.is_none(), "{:?}", world.checks.violation);
    }
}

/// Where the network was wrong: a request that hung in the network when its host lost power reached the
/// balancer made after that; its sender began with generation 1 again and learned nothing of it.
#[test]
fn what_a_host_had_sent_when_it_lost_power_reaches_nobody() {
    keeps_all_promises(&[4284, 5660, 22446, 25007, 32067, 45432, 54498, 57425]);
}

/// Where the checker was wrong: a standby that waits for a silent holder listens anew when its host's clock jumps,
/// which looks like a pause of its own, and so the address is free for longer than after one fault alone.
#[test]
fn a_standby_may_take_a_jump_of_the_clock_for_a_pause() {
    keeps_all_promises(&[43585]);
}

/// Where the network was wrong: what a manager had not read when it was killed was read by the next one, four
/// seconds later, as if it were news.
#[test]
fn what_a_manager_had_not_read_ends_with_it() {
    keeps_all_promises(&[27596]);
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
