//! What a balancer is run with.

use crate::row::{Row, had};

pub(crate) const ROWS: &[Row] = &[
    had(
        "Reload without a lost request",
        "SIGHUP; what is in progress ends as it began: [routing](routing.md#a-balancer-without-a-manager).",
        &[
            "lb::proxy reload::a_hundred_reloads_under_load_cost_no_request",
            "lb::proxy reload::what_can_change_is_taken_and_the_rest_is_named",
        ],
    ),
    had(
        "A bad file leaves what runs in place",
        "It is refused with file, line, column and what was perhaps meant; `--check` says so before: [routing](routing.md#a-balancer-without-a-manager).",
        &[
            "lb::proxy reload::a_bad_file_leaves_what_is_in_use_in_place",
            "lb::proxy standalone::a_check_says_all_that_is_wrong_and_a_wrong_file_starts_nothing",
            "lb settings::broken::each_is_refused_with_its_place_and_what_was_expected",
        ],
    ),
    had(
        "Upstreams are pushed, without a reload",
        "`PUT /upstreams`, or `PATCH` with what changes, as often as one likes: [architecture](architecture.md#the-way-of-a-request).",
        &[
            "lb::claims churn::swaps_cost_no_request_and_leave_no_sockets",
            "lb::proxy changes::changing_upstreams_under_load_loses_nothing_and_records_stay",
            "lb::proxy swaps::swapping_upstreams_under_load_loses_nothing",
            "lb::proxy admin::what_was_accepted_is_served_again_after_a_kill",
        ],
    ),
    had(
        "Hitless binary upgrade",
        "A second program takes over the port, handshakes under way and what was stored, and kept connections are told to connect anew; hand a `[[vip]]` over before: [architecture](architecture.md#the-way-of-a-request).",
        &[
            "lb::claims upgrade::another_program_takes_over_without_an_error",
            "lb::claims upgrade::handshakes_under_way_are_ended_by_the_other_program",
            "lb::claims upgrade::kept_connections_are_told_before_another_program_takes_over",
            "lb::tls swaps::another_program_takes_over_and_no_client_over_tls_notices",
        ],
    ),
    had(
        "Graceful stop within a stated time",
        "`stop_timeout_ms`: requests end, idle connections are closed, tunnels are ended when it is over: [HTTP](http.md#websocket).",
        &[
            "lb::proxy swaps::an_orderly_stop_finishes_requests_and_ends_with_zero",
            "lb::peers streams::a_balancer_that_stops_answers_what_it_was_asked_and_says_that_it_ends",
            "lb::peers websocket::a_balancer_that_stops_ends_tunnels_when_their_time_is_over",
        ],
    ),
    had(
        "The public address is handed over without a failed request",
        "`manager switchover`: kept connections are told to close, new ones are held back and passed on: [architecture](architecture.md#the-way-of-an-address-that-is-asked-to-move).",
        &[
            "manager::cluster switchover::no_request_fails_while_the_address_moves_back_and_forth",
            "lb::proxy hand_over::no_request_fails_on_kept_and_fresh_connections_through_many_hand_overs",
            "lb::proxy http2::no_request_fails_on_connections_of_http_2_through_hand_overs",
        ],
    ),
    had(
        "Failover of the public address (VRRPv3)",
        "[The public address](vip.md).",
        &[
            "manager::cluster balancers::the_other_balancer_takes_over_and_keeps_the_address",
            "lb::vip a_dead_or_hung_proxy_moves_the_address_and_its_return_does_not",
            "lb::interop three::two_of_ours_and_a_keepalived",
        ],
    ),
    had(
        "Standby servers, cold and hot",
        "`standbys` of a service: started when a machine fails and stopped when all are back, or running and used while nobody else is left: [services](services.md#standbys).",
        &[
            "manager::cluster standbys::a_cold_standby_serves_while_its_primary_is_gone_and_is_stopped_when_it_is_back",
            "manager::cluster standbys::a_hot_standby_is_sent_nothing_until_no_primary_is_left",
            "manager engine::tests::standbys::a_primary_that_comes_and_goes_has_its_standby_all_the_time",
        ],
    ),
    had(
        "Warm spares",
        "`spares` of a service: booted machines that are nobody, and become the next one without a boot, namespaces and virtual machines alike: [services](services.md#spares).",
        &[
            "manager::cluster standbys::a_machine_is_made_of_a_spare_that_knows_nothing_until_then",
            "manager::cluster standbys::spares_are_filled_up_and_end_with_their_need",
            "manager::vms spares::a_virtual_machine_is_made_of_a_spare_that_knows_nothing_until_then",
            "manager::vms spares::managers_and_daemons_come_and_go_and_machines_that_were_spares_do_not_mind",
        ],
    ),
    had(
        "Several public addresses, spread evenly over all balancers",
        "Each has an order of preference of its own; at once when a balancer dies, and again when it returns, without a failed request: [several addresses](vip.md#several-addresses-all-balancers-active).",
        &[
            "manager::cluster spread::six_addresses_stay_evenly_spread_when_one_of_three_balancers_dies_and_returns",
            "manager engine::tests::spread::three_hosts_with_six_addresses_have_two_each_also_after_a_loss_and_the_return",
        ],
    ),
    had(
        "Hosts and machines of IPv6",
        "`address`, `gateway`, `peers` and `address_pool` of a manager are of one family, IPv4 or IPv6; whether an address is free is asked by neighbour discovery: [settings](configuration.md).",
        &[
            "manager::cluster ipv6::a_killed_machine_fails_no_request_and_is_rebuilt_at_its_address_of_ipv6",
            "manager::cluster ipv6::a_public_address_of_ipv6_moves_when_the_balancer_that_has_it_dies",
            "manager::neighbours whoever_has_the_address_is_named_at_once",
        ],
    ),
    had(
        "How many balancers and addresses a load takes",
        "`manager plan vips`: what each carries before and after a loss: [how many it takes](vip.md#how-many-it-takes).",
        &[
            "manager::commands the_calculator_answers_for_a_fixed_and_for_a_free_number_of_balancers",
            "manager vip_plan::tests::three_balancers_need_six_addresses_and_four_need_four",
        ],
    ),
    had(
        "One address on all balancers, by BGP (ECMP)",
        "`[bgp]`: a BIRD or FRR beside the balancer announces the address while that serves: [BGP](bgp.md).",
        &[
            "lb::interop_bgp connections_are_spread_over_all_and_one_that_dies_is_withdrawn_within_a_second",
            "lb::interop_bgp one_whose_proxy_hangs_is_withdrawn_within_a_second_and_is_back_when_it_goes_on",
        ],
    ),
    had(
        "Statistics for each upstream, as CSV and JSON",
        "`/statistics.csv` and `/status`: requests, failures, checks, connections, waiting, state: [to see it](balancing.md#to-see-it).",
        &["lb::proxy observed::statistics_have_haproxys_columns", "lb::proxy admin::it_tells_about_itself"],
    ),
    had(
        "Statistics as a page for people",
        "`/` of lb has each upstream live, `/` of a manager the whole cluster: [to see it](balancing.md#to-see-it).",
        &[
            "lb::proxy observed::people_see_each_upstream_on_a_page_that_loads_nothing_from_elsewhere",
            "manager::interop_page the_page_shows_a_death_and_a_change_of_holder_without_being_loaded_again",
        ],
    ),
    had(
        "Prometheus metrics",
        "`/metrics`: [to see it](balancing.md#to-see-it).",
        &[
            "lb::proxy admin::it_tells_about_itself",
            "lb::claims accounts::every_attempt_is_written_down_and_counted",
        ],
    ),
    had(
        "Dashboards and alert rules",
        "Prometheus' configuration, rules and alerts, and Grafana's boards: [deploy/observe](../deploy/observe/README.md).",
        &[
            "manager::interop_observe live::all_that_is_asked_of_a_cluster_is_answered",
            "manager::interop_observe files::the_tests_of_the_rules_pass",
            "manager::interop_observe files::the_boards_are_whole",
        ],
    ),
    had(
        "Access log as JSON or combined, sampled or of errors alone",
        "`[access_log]`, with rotation, logrotate and SIGUSR1; never waited for: [logs](logs.md#the-access-log).",
        &[
            "lb::proxy observed::every_attempt_is_in_the_log_and_in_the_figures",
            "lb::proxy observed::a_log_that_was_moved_is_begun_anew_and_the_end_loses_nothing",
            "lb::proxy reopen::the_access_log_is_there_again_before_anything_is_written",
            "lb::proxy traced::the_log_can_be_combined_of_errors_alone_or_of_a_share",
            "lb proxy::access_log::file::tests::a_large_file_is_rotated_and_the_oldest_goes",
            "lb proxy::access_log::tests::what_is_lost_is_counted",
        ],
    ),
    had(
        "Request ids",
        "`[request_id]`: taken over from whom it may be, else made; in requests, answers and logs: [logs](logs.md#request-ids).",
        &[
            "lb::proxy traced::a_request_has_one_id_on_every_way",
            "lb::proxy traced::an_id_is_taken_over_from_whom_the_settings_say",
        ],
    ),
    had(
        "Tracing (OpenTelemetry)",
        "W3C Trace Context, and a span for each request and each of its tries over OTLP: [logs](logs.md#traces).",
        &[
            "lb::proxy traced::a_trace_is_gone_on_with_begun_or_begun_anew",
            "lb::proxy traced::a_request_and_each_of_its_tries_are_spans_of_one_trace",
            "lb::proxy traced::what_does_not_arrive_is_counted_and_keeps_nobody_waiting",
            "lb::proxy traced::clients_of_http_2_have_ids_and_traces_too",
        ],
    ),
    had(
        "Packages",
        "For Debian, with units, completions and manual pages; `bash deploy/packages.sh` makes them: [README](../README.md).",
        &["lb::proxy commands::each_command_is_typed_wrongly_above_has_a_page_and_is_completed"],
    ),
];
