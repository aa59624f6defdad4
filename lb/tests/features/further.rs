//! What comes of a balancer whose machines have a manager, and of looking at each try.

use crate::row::{Row, had, left_out};

pub(crate) const ROWS: &[Row] = &[
    had(
        "Hedging by latency quantiles",
        "What is late is learned for each path, from the answers of its upstreams: [balancing](balancing.md#times-and-retries).",
        &[
            "lb::claims grey::one_slow_backend_of_three_slows_hardly_anyone",
            "lb proxy::state::learned::tests::a_few_slow_answers_do_not_move_the_hedge_time",
        ],
    ),
    had(
        "Requests in flight are sent elsewhere at the instant of an ejection",
        "Or when a manager says that their upstream is dead or suspect, if they may be repeated: [balancing](balancing.md#what-may-not-be-repeated).",
        &[
            "lb::claims in_flight::two_hundred_requests_leave_a_machine_that_is_dead",
            "lb::claims in_flight::two_hundred_requests_leave_a_machine_that_is_suspected",
            "lb::proxy vanished::requests_that_wait_are_moved_together",
        ],
    ),
    had(
        "Ejection by what the hypervisor says",
        "A manager hears of a machine's end at once and takes it out of the set: [architecture](architecture.md#the-way-of-a-death).",
        &[
            "manager::cluster machines::a_killed_machine_fails_no_request_and_is_rebuilt_at_its_address",
            "manager::vms deaths::a_killed_service_machine_is_rebuilt_and_no_client_notices",
            "manager ports::libvirt::events::tests::ends_of_domains_are_told_while_subscribed",
            "lb::claims deaths::a_destroyed_backend_costs_no_get_when_its_manager_says_so",
        ],
    ),
    had(
        "Small answers are held until they are whole",
        "Up to 256 KiB, so that one that breaks off can be had elsewhere; larger ones end with a reset: [answers](http1.md#answers).",
        &[
            "lb::claims bodies::answers_of_up_to_256_kib_are_never_truncated",
            "lb::proxy failover::a_small_answer_that_breaks_off_is_fetched_from_the_next_upstream",
            "lb::claims bodies::a_larger_answer_that_breaks_off_does_not_look_whole",
        ],
    ),
    left_out(
        "Large answers are resumed by Range",
        "Nobody but the client knows whether two servers have the same bytes; its own request for the rest is passed on.",
    ),
    had(
        "Held requests go on with a push",
        "The moment that a manager tells of an upstream: [balancing](balancing.md#limits).",
        &["lb::claims outage::two_seconds_without_any_backend_cost_no_request"],
    ),
    had(
        "Every try is written down",
        "Upstream, time, how far it came, what became of it, whether it was a repetition; log, metrics and upstreams add up: [to see it](balancing.md#to-see-it).",
        &[
            "lb::claims accounts::every_attempt_is_written_down_and_counted",
            "lb::proxy observed::every_attempt_is_in_the_log_and_in_the_figures",
        ],
    ),
];
