//! What people run behind the balancers: how many machines of it there are, where, and what becomes of them.

use crate::row::{Row, had};

pub(crate) const ROWS: &[Row] = &[
    had(
        "Services by host name and path, each with its own error pages",
        "`[[service]]` in a file, or `manager service apply` at run time: [services](services.md).",
        &[
            "manager::cluster services::names_and_a_path_reach_their_services_and_each_has_its_own_page",
            "manager::cluster services::a_service_is_defined_at_run_time_and_outlives_its_managers",
        ],
    ),
    had(
        "Environment and secret files",
        "On the seed disk, for the program only; shown and logged nowhere: [services](services.md#what-a-program-is-given).",
        &["manager::cluster services::secrets_reach_the_program_and_nobody_else"],
    ),
    had(
        "Liveness and readiness probes",
        "HTTP, TCP or heartbeat, with thresholds and a grace at the start: [services](services.md#alive-and-ready).",
        &["manager::cluster services::a_machine_that_is_not_ready_is_sent_nothing_and_lives_on"],
    ),
    had(
        "Servers that others keep",
        "`endpoints`: asked by the balancers, with the same routes, policies and pages: [services](services.md#servers-that-others-keep).",
        &["manager::cluster services::servers_that_others_keep_are_a_service_too"],
    ),
    had(
        "One writer at a time",
        "`primary_only`: one upstream is given connections; those to it are closed before another one gets the first; all balancers take the same one: [databases](databases.md#one-primary).",
        &[
            "lb proxy::primary::keeper::tests::a_term_begins_when_nobody_stays_in_the_one_before",
            "lb proxy::primary::choose::tests::it_does_not_depend_on_the_order_and_is_settled_at_once",
            "manager::interop_databases galera::no_committed_row_is_lost_and_there_is_one_writer_at_a_time",
        ],
    ),
    had(
        "etcd and other servers with a quorum",
        "Clients go on when one is lost; without a quorum `manager status` says so: [databases](databases.md#to-see-it).",
        &["manager::interop_databases etcd::one_lost_clients_go_on_and_two_lost_the_state_is_shown"],
    ),
    had(
        "Rolling change with roll-back",
        "`surge`, `max_unavailable`; what does not become ready is taken back by the host itself: [services](services.md#rolling-a-change-out).",
        &[
            "manager engine::tests::rollout::with_room_there_is_never_one_less_and_never_two_more",
            "manager::cluster rollout::a_change_is_rolled_out_host_by_host_and_a_bad_one_is_taken_back_everywhere",
            "manager::cluster rollout::a_host_takes_a_bad_change_back_though_nobody_waits_and_its_manager_dies",
        ],
    ),
    had(
        "Placement over all hosts",
        "`total`: every manager computes alike who has how many, and acts on its own share: [services](services.md#over-all-hosts).",
        &[
            "manager engine::placement::tests::losing_a_host_moves_its_own_machines_only",
            "manager::cluster placement::people_say_how_many_and_the_managers_where",
            "manager sim::placed::every_promise_is_kept_under_all_faults_with_a_service_over_all_hosts",
        ],
    ),
    had(
        "A lost host's share runs elsewhere, and moves back",
        "After 3 s, within the room of the others; given back one drained machine at a time, only when there are enough without it: [services](services.md#over-all-hosts).",
        &[
            "manager::cluster placement::a_lost_hosts_share_runs_elsewhere_and_moves_back_without_a_failed_request",
            "manager sim::placed::a_lost_host_is_replaced_and_gets_its_share_back_without_a_gap",
        ],
    ),
    had(
        "Anti-affinity",
        "`spread = \"hard\"`: at most one machine of a service on each host; what finds no host is said: [services](services.md#over-all-hosts).",
        &[
            "manager engine::tests::placing::machines_that_must_not_share_a_host_are_not_made_where_there_is_none",
            "manager::cluster placement::people_say_how_many_and_the_managers_where",
        ],
    ),
    had(
        "Machines that keep their disk",
        "`persistent = true`: started again with their data, never elsewhere: [services](services.md#machines-with-data).",
        &["manager::cluster placement::a_machine_that_is_killed_keeps_its_disk_and_a_lost_host_its_machines"],
    ),
    had(
        "Autoscaling",
        "By processor, memory, requests a second and in flight, with the algorithm of Kubernetes; drained before taken away: [services](services.md#how-many-machines).",
        &[
            "manager engine::autoscale::tests::what_is_not_known_argues_against_the_change",
            "manager engine::tests::autoscale::hosts_that_were_cut_apart_each_have_what_they_need_and_then_all_of_it",
            "manager::cluster autoscale::a_ramp_takes_a_service_from_3_machines_to_9_and_back",
        ],
    ),
    had(
        "More than two hosts",
        "Up to 8 ask each other, more find out by SWIM who lives, over their mutual TLS; changes alone are told: [growth](growth.md).",
        &[
            "manager sim::growth::sixty_four_managers_with_ten_thousand_endpoints_converge_within_five_seconds_of_a_change",
            "manager sim::circles::every_promise_is_kept_under_faults_by_hosts_that_gossip",
            "manager sim::circles::who_cannot_reach_one_other_host_hears_of_it_from_the_rest",
        ],
    ),
    had(
        "What a larger cluster costs, in numbers",
        "Heartbeats, checks, snapshots, gossip and pushes at 2, 8 and 64 hosts with 10,000 machines: [growth](growth.md#what-it-costs).",
        &[
            "manager sim::growth::the_page_says_what_a_cluster_costs_as_it_grows",
            "manager sim::growth::a_circle_of_twenty_four_says_less_than_a_mesh",
        ],
    ),
    had(
        "One edit for all hosts",
        "`[etcd]`: what is put of services is compared and swapped in an etcd; without a quorum it is frozen, and all serves on: [growth](growth.md#services-that-all-hosts-agree-on).",
        &[
            "manager::interop_etcd three_hosts_agree_on_services_as_long_as_two_etcd_members_live",
            "manager config::etcd::tests::what_cannot_be_meant_is_refused_with_a_remedy",
        ],
    ),
];
