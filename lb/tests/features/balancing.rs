//! Who gets a request, and who is well enough for one.

use crate::row::{Row, had, left_out};

pub(crate) const ROWS: &[Row] = &[
    had(
        "Weighted round robin",
        "`algorithm = \"round_robin\"`, with the turns of a heavy one spread evenly: [balancing](balancing.md#the-algorithms).",
        &[
            "lb::proxy balancing::round_robin_gives_each_its_turn",
            "lb::proxy overrides::a_weight_changes_the_share_at_once",
            "lb proxy::balance::round_robin::tests::each_round_has_exactly_its_turns",
        ],
    ),
    had(
        "Least connections",
        "`algorithm = \"least_requests\"`: the fewest requests in flight for its weight: [balancing](balancing.md#the-algorithms).",
        &["lb proxy::balance::tests::load_follows_weight"],
    ),
    had(
        "Power of two choices",
        "`peak_ewma`, the default, takes the better of two drawn by weight: [balancing](balancing.md#the-algorithms).",
        &["lb proxy::balance::tests::an_idle_pool_is_used_evenly_and_by_weight"],
    ),
    had(
        "Peak-EWMA, least time",
        "The better one of the two is by recent latency, measured against what is usual for the path, and by load: [balancing](balancing.md#the-algorithms).",
        &[
            "lb::claims grey::one_slow_backend_of_three_slows_hardly_anyone",
            "lb proxy::balance::tests::a_slow_upstream_is_left_alone_until_its_slowness_fades",
        ],
    ),
    had(
        "Ring hash (ketama)",
        "`algorithm = \"ring_hash\"`, by client, path, header or cookie: [balancing](balancing.md#the-algorithms).",
        &[
            "lb::proxy balancing::a_key_keeps_its_upstream_when_another_goes",
            "lb proxy::balance::ring::tests::only_the_keys_of_who_is_gone_move",
        ],
    ),
    had(
        "Maglev",
        "`algorithm = \"maglev\"`, by the same keys: [balancing](balancing.md#the-algorithms).",
        &[
            "lb proxy::balance::maglev::tests::all_have_the_same_share_and_hardly_any_other_slot_moves",
            "lb proxy::balance::tests::a_key_stays_where_it_is_when_others_come_and_go",
            "lb::limits trusted_proxies::the_client_that_was_found_is_hashed_and_written_down",
        ],
    ),
    had(
        "Sticky cookie",
        "`sticky`: a signed cookie, the same for all balancers with one key: [balancing](balancing.md#the-algorithms).",
        &[
            "lb::proxy balancing::a_cookie_keeps_a_client_and_cannot_be_made_up",
            "lb proxy::balance::sticky::tests::a_key_can_be_replaced_without_losing_clients",
        ],
    ),
    had(
        "Backup servers",
        "`backup = true`: used while no other upstream is ready: [balancing](balancing.md#the-order-of-choice).",
        &[
            "lb::proxy failover::a_backup_is_used_while_there_is_nobody_else",
            "lb proxy::balance::tests::the_best_that_can_be_had_comes_first",
        ],
    ),
    had(
        "Locality, zones",
        "`zone`: the own zone first, until it is too busy: [balancing](balancing.md#the-algorithms).",
        &[
            "lb::proxy balancing::the_own_zone_is_used_while_it_is_idle",
            "lb proxy::balance::tests::the_own_zone_is_preferred_until_it_is_busier",
        ],
    ),
    had(
        "Slow start",
        "`slow_start_ms`: a new or readmitted upstream comes to its share bit by bit: [balancing](balancing.md#the-algorithms).",
        &[
            "lb::claims errors::a_backend_that_is_back_comes_to_its_share_bit_by_bit",
            "lb proxy::balance::tests::a_new_upstream_comes_to_its_share_bit_by_bit",
        ],
    ),
    had(
        "Limits for each server, with a queue",
        "`upstream_limits`: requests, connections, and how many wait for how long: [balancing](balancing.md#limits).",
        &[
            "lb::proxy balancing::an_upstream_gets_no_more_than_its_fill_and_the_rest_wait_their_turn",
            "lb::proxy balancing::no_more_connections_are_open_than_allowed",
            "lb::proxy balancing::nobody_in_line_is_forgotten",
        ],
    ),
    had(
        "Circuit breaker",
        "When all have their fill and the line is full, 503 with `Retry-After`, and nothing else is tried: [balancing](balancing.md#limits).",
        &["lb::proxy balancing::when_the_line_is_full_or_takes_too_long_503"],
    ),
];

pub(crate) const HEALTH: &[Row] = &[
    had(
        "Active HTTP checks",
        "`check`: method, path, statuses, text of the body, other port, rise and fall: [checks](balancing.md#checks).",
        &[
            "lb::proxy checks::whoever_fails_its_checks_has_no_requests_until_it_passes_them",
            "lb::proxy check_answers::a_process_that_hangs_is_found_without_a_request",
            "lb::proxy checks::another_check_takes_effect_and_leaves_the_other_pool_alone",
        ],
    ),
    had(
        "Active TCP checks",
        "`ask = { tcp = … }`: a connection, and if wanted what to send and what to expect: [checks](balancing.md#checks).",
        &[
            "lb::proxy check_answers::by_tcp_the_answer_has_to_be_the_right_one",
            "lb::proxy check_answers::by_tcp_the_connection_may_be_all",
        ],
    ),
    had(
        "Active gRPC checks",
        "`ask = { grpc = … }`: gRPC's own health protocol: [checks](balancing.md#checks).",
        &["lb::proxy check_answers::by_grpc_the_service_has_to_be_serving"],
    ),
    had(
        "Checks of MySQL, MariaDB, Galera, PostgreSQL and Redis",
        "`ask = { mysql = … }` and its like: with a login, also whether the server takes writes, and whether a Galera node is in step: [databases](databases.md#what-is-asked).",
        &[
            "lb::interop_databases mariadb::mariadb_says_whether_it_takes_writes",
            "lb::interop_databases postgres::postgres_says_who_recovers_and_takes_proofs_of_a_password",
            "lb::interop_databases redis::redis_says_who_is_the_primary_to_whoever_knows_its_password",
            "lb proxy::check::mysql::tests::who_is_read_only_stands_by_and_a_node_out_of_step_is_not_well",
        ],
    ),
    had(
        "HTTPS checks with a CA of their own",
        "`ask = { http = { tls = … } }`, or `kind = \"https\"` of a service: for the API servers of etcd or Kubernetes: [databases](databases.md#what-is-asked).",
        &["manager::interop_databases etcd::one_lost_clients_go_on_and_two_lost_the_state_is_shown"],
    ),
    had(
        "Checks shared out over many balancers",
        "Above 8 hosts three balancers check each upstream, the rest go by what most of these find: [growth](growth.md#who-checks-what).",
        &[
            "manager sim::checkers::what_fails_the_checks_of_three_is_suspect_to_all_others_and_well_again_after",
            "manager sim::checkers::the_part_of_a_lost_host_is_taken_over_and_nobody_elses",
            "manager sim::checkers::who_alone_cannot_reach_it_convicts_nobody",
            "lb::proxy checks::what_other_balancers_check_is_asked_after_trouble_only_and_goes_by_their_word",
        ],
    ),
    had(
        "Passive ejection",
        "Who refuses, breaks off or is silent is out at once or after `eject_after` failures: [balancing](balancing.md#who-is-left-out).",
        &[
            "lb::claims deaths::a_killed_backend_costs_no_get",
            "lb::claims deaths::a_paused_machine_costs_no_get",
            "lb::proxy failover::an_upstream_that_comes_back_is_used_again",
        ],
    ),
    had(
        "Success-rate ejection",
        "`outlier`: runs of 5xx, and a share of failures twice that of the peers: [balancing](balancing.md#who-is-left-out).",
        &[
            "lb::proxy answers::whoever_fails_more_often_than_its_peers_is_ejected_even_without_a_run",
            "lb::proxy answers::when_all_fail_nobody_is_ejected",
            "lb::claims errors::who_fails_at_once_gets_hardly_any_load",
        ],
    ),
    had(
        "Readmission by a real request",
        "After its penalty or its checks one request decides: [balancing](balancing.md#who-is-left-out).",
        &[
            "lb::proxy answers::one_good_answer_brings_it_back_and_a_bad_one_does_not",
            "lb proxy::balance::tests::one_request_is_the_trial_and_until_it_ends_no_other_goes_there",
        ],
    ),
    had(
        "Panic threshold",
        "`panic_below`: bad answers, to requests or to checks, leave at least that share in use: [balancing](balancing.md#who-is-left-out).",
        &[
            "lb::proxy checks::when_all_say_that_they_are_not_well_most_are_used",
            "lb proxy::balance::tests::in_panic_those_that_answer_badly_are_used_again",
        ],
    ),
    had(
        "Runtime drain and maintenance",
        "`PUT /overrides/NAME`, and `state = \"draining\"` from a manager; no reload: [balancing](balancing.md#one-machine-by-hand).",
        &[
            "lb::proxy overrides::a_machine_is_drained_until_that_is_taken_back_whatever_comes",
            "lb::proxy overrides::in_maintenance_a_machine_is_left_alone_even_when_it_is_the_last",
            "lb::proxy swaps::a_draining_upstream_gets_nothing_new_and_finishes_what_it_has",
        ],
    ),
    left_out(
        "Upstreams by DNS name",
        "A name is looked up by somebody who is told of changes: a manager, or whoever pushes the set. A balancer that waits for a name server \
         has one more thing to fail on.",
    ),
];
