//! Which way a request goes, and what is changed on it.

use crate::row::{Row, had, left_out};

pub(crate) const ROWS: &[Row] = &[
    had(
        "By host: exact and wildcard",
        "`hosts`: [routing](routing.md#whose-request-is-it).",
        &[
            "lb::proxy routing::the_first_route_that_fits_in_everything_decides",
            "lb::proxy forwarding::routes_choose_the_pool_by_host_and_path",
            "lb proxy::route::tests::a_wildcard_is_every_name_below_and_not_the_name_itself",
        ],
    ),
    had(
        "By path: prefix, exact, regular expression",
        "`path`, `path_exact`, `path_regex`, on the path as upstreams will read it: [routing](routing.md#whose-request-is-it).",
        &[
            "lb::proxy routing::the_first_route_that_fits_in_everything_decides",
            "lb proxy::route::tests::a_path_can_be_exact_or_an_expression",
            "lb proxy::route::path::tests::no_path_leads_out",
        ],
    ),
    had(
        "By method, header and query",
        "`methods`, `headers`, `query`: [routing](routing.md#whose-request-is-it).",
        &[
            "lb::proxy routing::the_first_route_that_fits_in_everything_decides",
            "lb proxy::route::matcher::tests::all_that_is_asked_for_has_to_fit",
        ],
    ),
    had(
        "Canary: weights",
        "`split`, by chance or with `split_by` so that clients stay where they are: [routing](routing.md#what-becomes-of-it).",
        &[
            "lb::proxy splitting::each_pool_has_its_share",
            "lb::proxy splitting::a_client_stays_where_it_is",
            "lb::proxy splitting::a_share_whose_pool_is_empty_goes_to_the_others",
        ],
    ),
    had(
        "Redirects",
        "`redirect`: scheme, host, port, path or prefix, with what an expression has found: [routing](routing.md#what-becomes-of-it).",
        &[
            "lb::proxy routing::redirects_lead_elsewhere_and_keep_the_connection",
            "lb proxy::route::target::tests::a_redirect_changes_what_it_names_and_keeps_the_rest",
        ],
    ),
    had(
        "Rewrites",
        "`rewrite`: path, prefix or host, for upgrades too: [routing](routing.md#what-becomes-of-it).",
        &[
            "lb::proxy rewriting::upstreams_and_clients_see_what_the_route_makes_of_it",
            "lb::proxy rewriting::an_upgrade_is_rewritten_too",
            "lb proxy::route::target::tests::a_rewrite_changes_what_it_names_and_keeps_the_rest",
        ],
    ),
    had(
        "Header edits",
        "`request_headers` and `response_headers` remove, set and add, with `{client}` and others: [routing](routing.md#what-becomes-of-it).",
        &[
            "lb::proxy rewriting::upstreams_and_clients_see_what_the_route_makes_of_it",
            "lb proxy::route::edits::tests::fields_go_are_set_and_come_in_this_order",
        ],
    ),
    had(
        "Fixed responses",
        "`respond`: status, body and header without an upstream: [routing](routing.md#what-becomes-of-it).",
        &["lb::proxy routing::fixed_answers_need_no_upstream"],
    ),
    had(
        "Compression: gzip, br, zstd",
        "`compress`, by what the client likes best, also of streams as they come: [compression](limits.md#compression).",
        &[
            "lb::limits compressed::each_coding_on_each_way_gives_back_what_it_was_given",
            "lb::limits compressed::what_is_not_to_be_compressed_is_passed_on_as_it_is",
            "lb::peers compressed::curl_reads_every_coding_over_either_version",
        ],
    ),
    left_out(
        "Authentication (Basic, by subrequest)",
        "It belongs to the service, which knows its users; machines are known by their certificates: [clients' certificates](tls.md#clients-certificates).",
    ),
    left_out(
        "Response caching",
        "Each balancer would have its own, and an empty one after each failover; a cache of one's own, behind the balancer, outlives both.",
    ),
    had(
        "One configuration, from a file or an API",
        "The same words in the balancer's own file and in `PUT /config`, refused in the same words: [routing](routing.md#a-balancer-without-a-manager).",
        &[
            "lb::proxy standalone::its_file_is_enough",
            "lb::proxy standalone::routes_answer_the_same_from_a_file_as_when_they_are_pushed",
            "lb settings::broken::a_pushed_configuration_is_refused_in_the_same_words",
        ],
    ),
];
