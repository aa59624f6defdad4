//! What is spoken with clients and upstreams.

use crate::row::{Row, had, left_out, not_yet};

pub(crate) const ROWS: &[Row] = &[
    had(
        "HTTP/1.1, both sides",
        "Kept connections, pipelining, chunks, HTTP/1.0: [HTTP/1.1](http1.md).",
        &[
            "lb::conformance table::every_case_is_answered_as_the_table_says",
            "lb::conformance curl::a_connection_is_kept_in_http_1_1_and_ends_in_1_0",
            "lb::proxy forwarding::requests_follow_each_other_on_one_connection_also_when_sent_ahead",
            "lb::proxy forwarding::kept_upstream_connections_are_used_again",
        ],
    ),
    had(
        "Content-Length with Transfer-Encoding, bad chunks, bad bytes",
        "400 and the end of the connection: [HTTP/1.1](http1.md#requests).",
        &[
            "lb::conformance table::every_case_is_answered_as_the_table_says",
            "lb::proxy hostile_requests::whatever_a_client_sends_is_answered_in_our_words",
            "lb proxy::strict::tests::what_can_be_read_in_two_ways_is_refused",
            "lb proxy::strict::tests::what_is_no_chunked_body_is_refused",
        ],
    ),
    had(
        "HTTP/2 from clients",
        "By ALPN: [HTTP](http.md#http2-from-clients).",
        &[
            "lb::tls versions::a_client_and_we_agree_on_a_protocol_or_do_not_talk",
            "lb::peers clients::curl_gets_the_same_over_either_version",
            "lb::proxy http2::a_request_goes_on_to_the_next_upstream_and_waits_where_there_is_none",
        ],
    ),
    had(
        "h2c from clients",
        "With prior knowledge, on plain listeners: [HTTP](http.md#http2-from-clients).",
        &[
            "lb::peers clients::h2load_sees_no_request_fail",
            "lb::proxy http2::streams_are_answered_side_by_side",
        ],
    ),
    had(
        "HTTP/2 and h2c to upstreams",
        "`protocol = \"h2\"` or `\"h2c\"`: [HTTP](http.md#http2-to-upstreams).",
        &[
            "lb::peers upstreams::nghttpd_serves_clients_of_either_version",
            "lb::peers upstreams::what_was_refused_goes_elsewhere_even_if_it_may_not_be_repeated",
            "lb::upstream_tls http2::requests_share_connections_and_say_that_they_go_over_tls",
        ],
    ),
    had(
        "Caps on everything in HTTP/2",
        "Streams, fields, frames, resets, floods, memory and time: [limits](http.md#limits).",
        &[
            "lb::peers frames::each_wrong_frame_has_its_right_answer",
            "lb::peers streams::an_idle_connection_is_told_before_it_is_closed",
            "lb proxy::http2::frames::tests::frames_that_carry_nothing_are_limited_and_others_are_not",
        ],
    ),
    left_out(
        "HTTP/3",
        "It needs QUIC on the virtual address, whose connections a hand-over could not move: [HTTP](http.md#left-out).",
    ),
    had(
        "gRPC with trailers",
        "Calls of every kind with `protocol = \"h2c\"`; errors of the balancer's own are statuses of gRPC: [gRPC](http.md#grpc).",
        &[
            "lb::peers grpc::calls_of_every_kind_pass_with_their_metadata",
            "lb::peers grpc::what_the_balancer_says_itself_is_a_status_of_grpc",
            "lb::peers upstreams::trailers_pass_and_parts_are_never_the_whole",
        ],
    ),
    left_out("gRPC-Web", "The page and its own proxy translate it: [HTTP](http.md#left-out)."),
    left_out(
        "Trailers of requests, and over HTTP/1.1",
        "The library below has no way for them, and gRPC needs neither: [HTTP](http.md#left-out).",
    ),
    had(
        "WebSocket",
        "Over HTTP/1.1, also with TLS on either side: [WebSocket](http.md#websocket).",
        &[
            "lb::peers websocket::messages_pass_whole_and_either_side_may_close",
            "lb::peers websocket::six_hundred_tunnels_lose_nothing_of_a_server_that_speaks_first",
            "lb::tls streams::a_tunnel_carries_both_ways_until_one_side_ends_it",
            "lb::upstream_tls sharing::large_answers_and_tunnels_pass",
        ],
    ),
    left_out(
        "WebSocket over HTTP/2 (RFC 8441)",
        "Browsers take HTTP/1.1 where it is not offered: [HTTP](http.md#left-out).",
    ),
    had(
        "Server-sent events",
        "Passed on one by one, compressed too: [compression](limits.md#compression).",
        &[
            "lb::proxy streams::events_pass_one_by_one",
            "lb::limits compressed::events_are_passed_on_one_by_one",
        ],
    ),
    had(
        "Interim answers (1xx), Expect",
        "Passed on, at most 100 and none to HTTP/1.0: [HTTP/1.1](http1.md#answers). Of upstreams that speak HTTP/2 the go-ahead is the balancer's own and others are dropped: [HTTP](http.md#http2-to-upstreams).",
        &[
            "lb::conformance table::every_case_is_answered_as_the_table_says",
            "lb::conformance curl::an_upload_waits_for_the_go_ahead_and_arrives_whole",
            "lb::peers clients::curl_gets_the_same_over_either_version",
            "lb::peers upstreams::nghttpd_serves_clients_of_either_version",
        ],
    ),
    had(
        "HEAD, 204, 304",
        "Answers without a body end where they should: [HTTP/1.1](http1.md#answers).",
        &[
            "lb::proxy forwarding::answers_without_a_body_end_where_they_should",
            "lb::conformance curl::a_head_has_the_length_and_not_the_body",
            "lb::peers clients::heads_and_what_is_large_or_broken_are_told_apart",
        ],
    ),
    had(
        "PROXY protocol in, v1 and v2",
        "`proxy_protocol = true` and `trusted` of a listener, plain or ahead of TLS: [the PROXY protocol](tls.md#the-proxy-protocol).",
        &[
            "lb::tls proxied::the_client_is_who_the_proxy_says_it_is_everywhere",
            "lb::tls proxied::the_header_stands_ahead_of_the_handshake_and_may_come_in_pieces",
            "lb::interop_proxies haproxy::whichever_way_it_comes_the_upstream_is_told_of_the_client_and_its_tls",
        ],
    ),
    had(
        "PROXY protocol out, v1 and v2",
        "`proxy_protocol` of a pool, plain or ahead of TLS: [upstreams that are told](tls.md#upstreams-that-are-told-of-clients).",
        &[
            "lb::upstream_tls announced::the_next_proxy_hears_of_each_client_on_both_paths_with_and_without_tls",
            "lb::interop_proxies upstreams::nginx_and_haproxy_are_told_of_each_client_ahead_of_everything",
        ],
    ),
];

pub(crate) const TCP: &[Row] = &[
    had(
        "TCP (layer 4)",
        "`tcp`: ports whose connections are passed on as they come, with the pools, checks, ejection and limits that requests have: [TCP](tcp.md).",
        &[
            "lb::tcp bytes::both_sides_speak_as_they_like_and_the_server_may_be_first",
            "lb::tcp bytes::much_goes_both_ways_at_once_and_arrives_as_it_was",
            "lb::tcp failing::who_refuses_is_left_for_the_next_one_and_ejected",
            "lb::tcp failing::least_requests_counts_open_connections",
            "lb::tcp failing::while_there_is_nobody_connections_are_held_and_go_on_with_a_push",
        ],
    ),
    had(
        "Half-close, resets, idle timeouts",
        "The end of what one side says is passed on while the other goes on, a reset as a reset: [ends](tcp.md#how-connections-end).",
        &[
            "lb::tcp bytes::who_has_ended_still_hears_the_other",
            "lb::tcp bytes::a_reset_is_passed_on_as_one",
            "lb::tcp ends::silence_ends_it_and_a_word_now_and_then_does_not",
            "lb::tcp ends::who_takes_nothing_is_waited_for_and_costs_the_sender_its_pace",
        ],
    ),
    had(
        "TLS pass-through by SNI",
        "Several services share a port by the names that clients ask for; the balancer has no key: [names](tcp.md#tls-by-name).",
        &[
            "lb::tcp names::the_name_leads_to_the_pool_and_tls_goes_through_untouched",
            "lb::tcp names::a_hello_may_come_in_pieces_of_any_size",
        ],
    ),
    had(
        "PROXY protocol for TCP, in and out",
        "v1 and v2, with the client's port: [the PROXY protocol](tcp.md#who-the-client-is).",
        &[
            "lb::tcp announced::upstreams_are_told_who_the_client_is_in_both_versions",
            "lb::tcp announced::a_proxy_before_us_is_believed_and_passed_on",
        ],
    ),
    had(
        "Listeners opened and closed at run time",
        "With a push or a reload, without a connection lost: [ports](tcp.md#ports).",
        &[
            "lb::tcp ports::a_port_is_open_when_the_configuration_is_answered",
            "lb::tcp ports::swaps_under_load_lose_no_connection",
            "lb::tcp leaving::a_service_that_is_taken_away_takes_nothing_new_and_lets_what_is_open_end",
        ],
    ),
    had(
        "Connections of a dead server are ended",
        "With a push that leaves it out: its clients need not wait for a timeout: [ends](tcp.md#how-connections-end).",
        &["lb::tcp leaving::who_leaves_without_having_drained_is_dead_and_its_clients_are_told_at_once"],
    ),
    had(
        "The connection table, as `ipvsadm` has it",
        "`GET /connections` and `GET /connections/list`, or `lb connections`: [to see it](tcp.md#to-see-it).",
        &[
            "lb::tcp seen::the_table_of_connections_is_as_ipvsadm_has_it",
            "lb::in_kernel nat::servers_and_balancers_die_and_connections_go_on",
        ],
    ),
    had(
        "Forwarding in the kernel, by NAT",
        "`forwarding = \"nftables\"`, or with the clients' addresses `\"nftables-gateway\"`: a ruleset in step with sets and checks, changed in one transaction: [in the kernel](tcp.md#in-the-kernel).",
        &[
            "lb::in_kernel nat::servers_and_balancers_die_and_connections_go_on",
            "lb::in_kernel nat::a_server_sees_the_balancer_or_as_its_gateway_the_client",
            "lb::in_kernel nat::ipv6_is_forwarded_too_and_weights_and_the_clients_address_count",
            "lb::in_kernel lifetimes::the_kernel_goes_on_without_the_balancer_which_takes_over_and_clears_up",
        ],
    ),
    had(
        "Direct server return",
        "`forwarding = \"nftables-dsr\"`: packets go to a server's link-layer address, answers to the client directly; a connection stays while the set changes: [in the kernel](tcp.md#in-the-kernel).",
        &[
            "lb::in_kernel direct::servers_and_balancers_die_and_connections_go_on",
            "lb::in_kernel direct::a_server_sees_the_client_and_a_connection_stays_while_the_set_changes",
            "lb::in_kernel direct::where_the_client_decides_a_connection_outlives_its_balancer",
            "lb::in_kernel direct::what_cannot_be_passed_on_is_said",
        ],
    ),
    not_yet("UDP", "Only TCP is passed on."),
];
