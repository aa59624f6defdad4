use super::*;

const PEERS: [IpAddr; 1] = [at(2)];
const OPEN: Rules<'static> = Rules { initialised: false, open_reads: true, address: at(1), peers: &PEERS };
const INITIALISED: Rules<'static> = Rules { initialised: true, ..OPEN };
const CLOSED: Rules<'static> = Rules { open_reads: false, ..INITIALISED };

const fn at(last: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 10, last))
}

const HERE: [&str; 3] = ["127.0.0.1:9", "[::ffff:127.0.0.1]:9", "192.168.10.1:9"];
const PEER: &str = "192.168.10.2:9";
const STRANGER: &str = "192.168.10.100:9";

const EVERY_NEED: [Need; 8] = [
    Need::Open,
    Need::Status,
    Need::Records,
    Need::Change(Scope::Read),
    Need::Change(Scope::Operate),
    Need::Change(Scope::Chaos),
    Need::Snapshot,
    Need::Tokens,
];

fn plain(from: &str) -> Origin {
    Origin { from: From::Network(from.parse().expect("an address")), encrypted: false, certified: None }
}

fn tls(from: &str) -> Origin {
    Origin { encrypted: true, ..plain(from) }
}

fn host(from: &str) -> Origin {
    Origin { certified: Some("b".into()), ..tls(from) }
}

fn socket() -> Origin {
    Origin { from: From::Socket { uid: 0 }, encrypted: false, certified: None }
}

fn token(scopes: &[Scope]) -> Bearer {
    Bearer::Known { name: "ci".to_owned(), scopes: scopes.iter().copied().collect() }
}

/// The needs that are met, in the order of [`EVERY_NEED`], one letter each.
fn met(origin: &Origin, bearer: &Bearer, rules: &Rules<'_>) -> String {
    let letters = EVERY_NEED.iter().zip("osrROCPT".chars());
    letters
        .map(|(need, letter)| if judge(origin, bearer, *need, rules).is_ok() { letter } else { '-' })
        .collect()
}

fn refusal(origin: &Origin, bearer: &Bearer, need: Need, rules: &Rules<'_>) -> Refusal {
    judge(origin, bearer, need, rules).expect_err("refused")
}

#[test]
fn the_socket_may_do_everything_but_speak_for_another_host() {
    for rules in [OPEN, INITIALISED, CLOSED] {
        assert_eq!(met(&socket(), &Bearer::None, &rules), "osrROC-T");
        // A token on the socket says nothing and spoils nothing.
        assert_eq!(met(&socket(), &Bearer::Worthless("x".to_owned()), &rules), "osrROC-T");
    }
    assert_eq!(judge(&socket(), &Bearer::None, Need::Tokens, &CLOSED), Ok(Who::Socket { uid: 0 }));
}

#[test]
fn before_init_this_host_and_its_peers_are_trusted_and_all_may_look() {
    for here in HERE {
        assert_eq!(met(&plain(here), &Bearer::None, &OPEN), "osrROC--", "{here}");
    }
    assert_eq!(met(&plain(PEER), &Bearer::None, &OPEN), "osrROCP-");
    assert_eq!(met(&plain(STRANGER), &Bearer::None, &OPEN), "os------");
    let never_closed = Rules { open_reads: false, ..OPEN };
    assert_eq!(met(&plain(STRANGER), &Bearer::None, &never_closed), "os------");
}

#[test]
fn after_init_an_address_is_no_proof() {
    for here in HERE {
        assert_eq!(met(&plain(here), &Bearer::None, &INITIALISED), "osr-----", "{here}");
        assert_eq!(met(&plain(here), &Bearer::None, &CLOSED), "osr-----", "{here}");
    }
    for origin in [plain(PEER), plain(STRANGER), tls(PEER), tls(STRANGER)] {
        assert_eq!(met(&origin, &Bearer::None, &INITIALISED), "os------", "{origin:?}");
        assert_eq!(met(&origin, &Bearer::None, &CLOSED), "o-------", "{origin:?}");
    }
}

#[test]
fn a_certified_host_may_all_but_give_access() {
    assert_eq!(met(&host(PEER), &Bearer::None, &CLOSED), "osrROCP-");
    let who = judge(&host(PEER), &Bearer::None, Need::Snapshot, &CLOSED).expect("allowed");
    assert_eq!(who.to_string(), "host b at 192.168.10.2");
}

#[test]
fn a_token_allows_its_scopes_over_tls() {
    let from = tls(STRANGER);
    assert_eq!(met(&from, &token(&[Scope::Read]), &CLOSED), "osrR----");
    assert_eq!(met(&from, &token(&[Scope::Operate]), &CLOSED), "osr-O---");
    // Harm is apart: it neither shows anything nor changes anything.
    assert_eq!(met(&from, &token(&[Scope::Chaos]), &CLOSED), "o----C--");
    assert_eq!(met(&from, &token(&[Scope::Chaos]), &INITIALISED), "os---C--");
    assert_eq!(met(&from, &token(&[Scope::Operate, Scope::Chaos]), &CLOSED), "osr-OC--");
    assert_eq!(met(&from, &token(&[]), &CLOSED), "o-------");
    let lacking = refusal(&from, &token(&[Scope::Read]), Need::Change(Scope::Operate), &INITIALISED);
    assert_eq!(lacking.status, 403);
    assert!(lacking.detail.contains("`ci`") && lacking.detail.contains("--scope operate"), "{lacking:?}");
}

#[test]
fn a_token_in_the_clear_is_refused_and_called_given_away() {
    for rules in [OPEN, INITIALISED, CLOSED] {
        for from in [STRANGER, PEER] {
            let refused = refusal(&plain(from), &token(&[Scope::Operate]), Need::Status, &rules);
            assert_eq!(refused.status, 403);
            assert!(refused.detail.contains("https"), "{refused:?}");
            assert!(refused.detail.contains("manager access revoke ci"), "{refused:?}");
        }
        let here = refusal(&plain(HERE[0]), &token(&[Scope::Operate]), Need::Change(Scope::Operate), &rules);
        assert!(here.detail.contains("https") && !here.detail.contains("revoke"), "{here:?}");
        let unknown = refusal(&plain(STRANGER), &Bearer::Worthless("x".to_owned()), Need::Status, &rules);
        assert!(unknown.detail.contains("https") && !unknown.detail.contains("revoke"), "{unknown:?}");
        assert_eq!(met(&plain(STRANGER), &token(&[Scope::Operate]), &rules), "o-------");
    }
}

#[test]
fn a_worthless_token_is_told_so_even_where_none_is_needed() {
    let worthless = Bearer::Worthless("it expired yesterday".to_owned());
    let refused = refusal(&tls(STRANGER), &worthless, Need::Status, &INITIALISED);
    assert_eq!((refused.status, refused.detail.as_str()), (401, "it expired yesterday"));
    assert_eq!(met(&tls(STRANGER), &worthless, &INITIALISED), "o-------");
}

#[test]
fn every_refusal_says_what_to_do() {
    let origins = [socket(), plain(HERE[0]), plain(PEER), plain(STRANGER), tls(STRANGER)];
    for rules in [OPEN, INITIALISED, CLOSED] {
        for origin in &origins {
            for bearer in [Bearer::None, token(&[Scope::Chaos])] {
                for need in EVERY_NEED {
                    if let Err(refusal) = judge(origin, &bearer, need, &rules) {
                        let said = &refusal.detail;
                        let remedy = ["manager", "https", "only", "scope read"];
                        assert!(remedy.iter().any(|word| said.contains(word)), "{need:?}: {said}");
                        assert!(matches!(refusal.status, 401 | 403));
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_named_needs_the_most() {
    for (method, route, expected) in [
        (Method::GET, "/health/live", Need::Open),
        (Method::HEAD, "/metrics", Need::Open),
        (Method::POST, "/metrics", Need::Change(Scope::Operate)),
        (Method::GET, "/swagger-ui/{*rest}", Need::Open),
        (Method::GET, "/cluster", Need::Status),
        (Method::GET, "/state", Need::Status),
        (Method::GET, "/maintenance", Need::Status),
        (Method::PUT, "/maintenance", Need::Change(Scope::Operate)),
        (Method::POST, "/vms", Need::Change(Scope::Operate)),
        (Method::DELETE, "/vms/{id}", Need::Change(Scope::Operate)),
        (Method::GET, "/vms/{id}/logs", Need::Status),
        (Method::GET, "/vms/{id}/console", Need::Change(Scope::Operate)),
        (Method::POST, "/vms/{id}/fault", Need::Change(Scope::Chaos)),
        (Method::GET, "/host/fault", Need::Change(Scope::Chaos)),
        (Method::POST, "/host/fault", Need::Change(Scope::Chaos)),
        (Method::DELETE, "/host/fault", Need::Change(Scope::Chaos)),
        (Method::PUT, "/peers/{host}", Need::Snapshot),
        (Method::PUT, "/pki/revocations", Need::Snapshot),
        (Method::GET, "/pki/revocations", Need::Status),
        (Method::POST, "/pki/join", Need::Enrol),
        (Method::GET, "/access/tokens", Need::Tokens),
        (Method::DELETE, "/access/tokens/{name}", Need::Tokens),
        (Method::GET, "/audit", Need::Records),
        (Method::PATCH, "/something/new", Need::Change(Scope::Operate)),
    ] {
        assert_eq!(need(&method, route), expected, "{method} {route}");
    }
}
