//! Encryption on both sides, and where certificates come from.

use crate::row::{Row, had, left_out};

pub(crate) const ROWS: &[Row] = &[
    had(
        "TLS termination with modern defaults",
        "TLS 1.2 and 1.3 through rustls, ciphers with forward secrecy alone, ALPN: [TLS](tls.md).",
        &[
            "lb::tls versions::the_two_good_versions_are_spoken_and_no_other",
            "lb::tls versions::ciphers_without_forward_secrecy_or_authentication_are_not_spoken",
            "lb::tls versions::a_listener_can_speak_the_newest_version_only",
        ],
    ),
    had(
        "Certificates by SNI",
        "Exact name, then wildcard, then the first; of several kinds of key the one that the client knows: [certificates](tls.md#certificates).",
        &[
            "lb::tls names::the_name_that_is_asked_for_decides",
            "lb::tls names::names_that_nobody_has_can_be_refused",
            "lb::tls versions::of_two_kinds_of_key_a_client_is_shown_the_one_it_knows",
        ],
    ),
    had(
        "Certificates are swapped without a restart",
        "By `PUT /config`, or SIGHUP where they are files; a manager looks at its files itself: [certificates](tls.md#certificates).",
        &[
            "lb::tls swaps::a_hundred_swaps_of_certificates_and_keys_fail_no_request",
            "lb::tls names::what_is_pushed_outranks_the_file_is_kept_and_its_keys_are_not_shown",
            "lb::tls names::files_that_were_renewed_are_read_anew_with_the_settings",
            "manager certificates::files::tests::a_pair_that_is_half_replaced_waits_for_the_other_half",
        ],
    ),
    had(
        "OCSP stapling",
        "`ocsp` beside a certificate; it is given, not fetched: [certificates](tls.md#certificates).",
        &[
            "lb::tls ocsp::it_is_shown_to_those_who_ask_for_it",
            "lb::tls ocsp::the_file_takes_it_as_openssl_writes_it",
        ],
    ),
    had(
        "Client certificates (mTLS)",
        "`client_certificates`, optional or required; upstreams are told in `Client-Cert`: [clients' certificates](tls.md#clients-certificates).",
        &[
            "lb::tls client_certificates::a_certificate_is_asked_for_looked_at_and_passed_on",
            "lb::tls client_certificates::where_it_is_optional_the_upstream_is_told_the_truth_whatever_the_client_says",
        ],
    ),
    left_out(
        "Lists of revoked certificates (CRL)",
        "Neither of clients nor of upstreams: give certificates that end soon, or change the CA: [clients' certificates](tls.md#clients-certificates).",
    ),
    had(
        "Session tickets with shared, rotating keys",
        "`ticket_keys`: sessions go on at the other balancer after a failover; managers make new ones: [session tickets](tls.md#session-tickets).",
        &[
            "lb::tls tickets::balancers_with_the_same_keys_resume_each_others_sessions_and_others_do_not",
            "manager certificates::ticket_keys::tests::through_a_year_every_ticket_is_of_a_known_key_and_can_be_opened_until_it_ends",
            "manager::interop_acme one_manager_gets_the_certificate_every_balancer_shows_it_and_another_manager_goes_on",
        ],
    ),
    left_out("0-RTT (early data)", "Who overhears it can send it again: [TLS](tls.md)."),
    had(
        "ACME: HTTP-01",
        "`[acme]` of a manager: one orders for all, every balancer answers and is given the certificate: [by the managers](tls.md#by-the-managers).",
        &[
            "manager::interop_acme one_manager_gets_the_certificate_every_balancer_shows_it_and_another_manager_goes_on",
            "manager certificates::acme::due::tests::it_is_renewed_before_two_thirds_of_its_life_and_not_all_at_once",
        ],
    ),
    had(
        "ACME: TLS-ALPN-01",
        "`challenge = \"tls-alpn-01\"`: [by the managers](tls.md#by-the-managers).",
        &["manager::interop_acme a_name_can_be_proved_in_a_handshake_and_what_failed_is_said"],
    ),
    left_out(
        "ACME: DNS-01, wildcards",
        "Each provider of DNS has an interface of its own; such certificates come as files: [by the managers](tls.md#by-the-managers).",
    ),
    left_out(
        "ACME by a balancer without a manager",
        "One has to own an order, and that is a manager; without one, certificates come as files: [certificates](tls.md#certificates).",
    ),
    had(
        "TLS to upstreams",
        "`tls` of a pool: its own CAs, the name that has to be in the certificate, kept connections and sessions: [TLS with upstreams](tls.md#tls-with-upstreams).",
        &[
            "lb::upstream_tls certificates::who_shows_the_wrong_certificate_gets_nothing_and_requests_go_elsewhere",
            "lb::upstream_tls sharing::connections_are_kept_and_sessions_resumed_on_both_paths",
            "lb::interop_proxies upstreams::nginx_is_spoken_to_over_tls_in_both_versions_of_http",
        ],
    ),
    had(
        "mTLS to upstreams",
        "`tls.certificate` of a pool: [TLS with upstreams](tls.md#tls-with-upstreams).",
        &[
            "lb::upstream_tls own_certificates::whoever_asks_is_shown_ours_and_without_one_requests_go_elsewhere",
            "lb::interop_proxies upstreams::nginx_is_shown_our_certificate",
        ],
    ),
    had(
        "Deadline for handshakes",
        "`handshake_timeout_ms`, with what comes ahead of it: [TLS](tls.md).",
        &[
            "lb::tls crowds::two_thousand_handshakes_that_never_end_are_ended_and_nobody_else_notices",
            "lb::tls ends::what_is_no_tls_or_no_end_of_a_handshake_is_closed_and_counted",
        ],
    ),
];
