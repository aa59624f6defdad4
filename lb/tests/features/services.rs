//! What people run behind the balancers: how many machines of it there are, where, and what becomes of them.

use crate::row::{Row, had};

pub(crate) const ROWS: &[Row] = &[
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
];
