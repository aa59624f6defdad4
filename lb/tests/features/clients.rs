//! Who clients are, and what they may.

use crate::row::{Row, had};

pub(crate) const ROWS: &[Row] = &[
    had(
        "X-Forwarded-For, -Proto, -Host",
        "Written with what is true; what strangers say in them is replaced: [clients](limits.md#who-is-the-client).",
        &[
            "lb::proxy forwarding::the_client_is_named_and_connection_fields_are_dropped_both_ways",
            "lb::limits trusted_proxies::a_trusted_proxy_says_who_the_client_is_and_a_stranger_does_not",
        ],
    ),
    had(
        "Forwarded (RFC 7239)",
        "`forwarded` and `client_from`: written, and read from trusted proxies: [clients](limits.md#who-is-the-client).",
        &[
            "lb::limits trusted_proxies::forwarded_is_read_and_written_where_that_is_asked_for",
            "lb proxy::limits::hops::tests::forwarded_says_the_same_in_its_own_way",
        ],
    ),
    had(
        "Trusted proxies, real IP",
        "`trusted_proxies`: the client is the last one that is none of them, in logs, limits and hashes: [clients](limits.md#who-is-the-client).",
        &[
            "lb::limits trusted_proxies::a_trusted_proxy_says_who_the_client_is_and_a_stranger_does_not",
            "lb::limits trusted_proxies::the_client_that_was_found_is_hashed_and_written_down",
            "lb proxy::limits::hops::tests::whatever_is_left_of_the_client_changes_nothing",
        ],
    ),
    had(
        "Allow and deny by CIDR",
        "`allow` and `deny`, of everybody or of a route: [clients](limits.md#who-may-ask).",
        &[
            "lb::limits allow_deny::first_deny_then_allow_for_everybody_and_for_a_route",
            "lb proxy::limits::networks::tests::it_finds_what_one_after_the_other_would",
        ],
    ),
    had(
        "Rate limits",
        "`rate_limits` (GCRA) by client, header, cookie or all, with burst and delay; each balancer counts for itself: [clients](limits.md#how-often).",
        &[
            "lb::limits rates::each_client_has_its_own_burst_and_is_told_when_to_come_again",
            "lb::limits rates::requests_are_counted_by_what_is_asked_for",
            "lb::limits rates::who_comes_too_soon_can_be_made_to_wait",
            "lb proxy::limits::rate::tests::in_no_time_come_more_than_the_burst_and_the_rate",
        ],
    ),
    had(
        "Connection limits",
        "`connections` for all and `connections_per_client`: [clients](limits.md#how-many-connections).",
        &[
            "lb::proxy trouble::too_many_connections_are_closed_at_once",
            "lb::limits connections::a_client_has_so_many_connections_and_others_have_theirs",
            "lb::limits connections::behind_the_proxy_protocol_it_is_the_client_that_counts",
        ],
    ),
    had(
        "Body and header limits",
        "`body_bytes`, also of a route, `header_bytes`, `header_fields`, `field_bytes`, `target_bytes`: [slow clients](http1.md#slow-clients).",
        &[
            "lb::proxy trouble::a_large_head_431_and_a_large_body_413",
            "lb::proxy routing::a_route_has_its_own_limits",
            "lb proxy::strict::tests::what_can_be_read_in_two_ways_is_refused",
            "lb::proxy http2::the_statuses_of_our_own_are_those_of_http_1",
        ],
    ),
    had(
        "Deadline for slow headers",
        "`header_timeout_ms`, for all of a head: [slow clients](http1.md#slow-clients).",
        &[
            "lb::proxy trouble::a_head_that_drips_408_and_an_idle_connection_is_closed",
            "lb::proxy slow_clients::two_thousand_drip_their_heads",
        ],
    ),
    had(
        "Deadlines for slow bodies",
        "`body_timeout_ms` in all, and `body_min_bytes_per_s`: [slow clients](http1.md#slow-clients).",
        &[
            "lb::proxy slow_clients::a_body_that_comes_too_slowly_408_on_either_path",
            "lb::proxy slow_clients::a_body_that_comes_fast_enough_but_never_ends_408",
            "lb::proxy slow_clients::two_thousand_drip_bodies_that_stream",
        ],
    ),
    had(
        "Deadlines for slow readers",
        "`send_timeout_ms` and `send_min_bytes_per_s`: [slow clients](http1.md#slow-clients).",
        &[
            "lb::proxy slow_clients::a_client_that_takes_too_little_is_reset",
            "lb::proxy slow_clients::two_thousand_take_no_answer",
            "lb::proxy http2::answers_that_nobody_reads_are_not_kept_in_memory",
        ],
    ),
];
