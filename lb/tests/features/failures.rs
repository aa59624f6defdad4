//! What becomes of requests whose upstream fails.

use crate::row::{Row, had};

pub(crate) const ROWS: &[Row] = &[
    had(
        "Retry on another server",
        "`max_tries` different upstreams for what was not sent, or may be repeated: [balancing](balancing.md#what-may-not-be-repeated).",
        &[
            "lb::proxy failover::where_nothing_listens_the_next_upstream_answers",
            "lb::proxy failover::an_idempotent_request_with_a_body_is_repeated",
            "lb::proxy failover::a_kept_connection_that_turns_out_closed_is_no_failure",
        ],
    ),
    had(
        "Retry on a status",
        "`retry_statuses`, within the retry budget, for what may be repeated: [balancing](balancing.md#answers-that-are-not-passed-on).",
        &[
            "lb::proxy statuses::another_is_asked_in_place_of_a_listed_status",
            "lb::proxy statuses::what_may_not_be_repeated_is_answered_as_it_was",
            "lb::proxy statuses::a_storm_is_bounded_by_the_budget",
        ],
    ),
    had(
        "POST is not replayed by default",
        "What may have been executed is not sent twice, unless by `Idempotency-Key` or `repeatable`; its client is told the reason: [balancing](balancing.md#what-may-not-be-repeated).",
        &[
            "lb::proxy failover::a_get_is_repeated_after_a_reset_and_a_post_is_not",
            "lb::proxy failover::a_post_may_be_repeated_where_its_client_or_its_route_says_so",
            "lb::claims posts::no_post_is_executed_twice_when_a_backend_stands_still_and_goes_on",
        ],
    ),
    had(
        "Retry budget",
        "`retry_budget_ratio` and `retry_budget_per_second`; what was not sent is free: [balancing](balancing.md#times-and-retries).",
        &[
            "lb::claims errors::broken_connections_are_retried_within_the_budget",
            "lb proxy::state::budget::tests::retries_are_a_share_of_the_requests_plus_some_per_second",
        ],
    ),
    had(
        "Timeout for each try",
        "`connect_timeout_ms`, and a deadline for the first byte that is learned for each path, within `first_byte_min_ms` and `first_byte_max_ms`: [balancing](balancing.md#times-and-retries).",
        &[
            "lb::proxy slowness::an_upstream_whose_connections_nobody_accepts_is_left",
            "lb::proxy vanished::where_no_connection_comes_about_impatient_clients_are_soon_well",
            "lb proxy::state::learned::tests::a_fast_route_has_the_shortest_deadline",
        ],
    ),
    had(
        "Total deadline",
        "`request_timeout_ms`, over all tries, of a pool or a route; then 504: [routing](routing.md#what-becomes-of-it).",
        &[
            "lb::proxy trouble::when_no_answer_comes_504",
            "lb::proxy routing::a_route_has_its_own_limits",
            "lb::proxy slowness::a_post_to_a_frozen_upstream_is_sent_once_and_too_slow",
        ],
    ),
    had(
        "Hedging",
        "`hedge_ratio`: what may be repeated and is late, while others answer such requests at once, is asked of a second upstream too; the first answer counts. Not with [HTTP/2 to upstreams](http.md#http2-to-upstreams).",
        &[
            "lb::claims grey::one_slow_backend_of_three_slows_hardly_anyone",
            "lb proxy::state::budget::tests::hedges_are_a_share_of_the_requests_and_take_nothing_from_the_retries",
        ],
    ),
    had(
        "Requests in flight are ended when a server goes down",
        "What hangs at one that is dead or suspected is answered elsewhere, or its client told, without waiting for a timeout: [balancing](balancing.md#what-may-not-be-repeated).",
        &[
            "lb::claims in_flight::two_hundred_requests_leave_a_machine_that_is_dead",
            "lb::proxy vanished::requests_that_wait_are_moved_together",
            "lb::claims posts::a_post_at_a_machine_that_is_dead_is_refused_at_once",
        ],
    ),
    had(
        "Requests are held while no server is there",
        "For `hold_ms`, `hold_requests` at most; then 503 with `Retry-After`: [balancing](balancing.md#limits).",
        &[
            "lb::claims outage::two_seconds_without_any_backend_cost_no_request",
            "lb::claims outage::backends_that_come_back_by_themselves_are_found_and_posts_wait_too",
            "lb::claims outage::a_full_queue_and_a_long_wait_end_with_503_and_retry_after",
        ],
    ),
    had(
        "Custom error pages",
        "`error_pages` by status or class, of all routes or of one, as text, template or file, also in the place of an upstream's answer: [routing](routing.md#errors).",
        &[
            "lb::proxy error_pages::people_get_pages_and_programs_get_problems",
            "lb::proxy error_pages::what_is_refused_before_there_is_a_request_has_a_page_too",
            "lb::proxy error_pages::a_page_can_take_the_place_of_what_an_upstream_says",
            "lb::proxy standalone::its_file_is_enough",
        ],
    ),
];
