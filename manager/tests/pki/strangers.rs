//! Other CAs, addresses that are not theirs, and plain HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get as route;
use http::Method;
use kit::tls::{Clients, Live, Party, TlsListener};
use serde_json::json;
use tokio::net::TcpListener;
use wire::tls::Credentials;

use crate::forger;
use crate::stage::{Host, client, get};

/// A server that shows `credentials`, at `address`.
async fn serve(credentials: &Credentials, address: SocketAddr) {
    let live = Live::new(credentials, Clients::Anybody).expect("usable");
    let listener = TcpListener::bind(address).await.expect("bound");
    let listener = TlsListener::new(listener, Arc::new(live)).expect("listening");
    let router = Router::new().route("/", route(async || "hello"));
    tokio::spawn(async {
        axum::serve(listener, router.into_make_service_with_connect_info::<Party>()).await
    });
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_good_for_nothing() {
    let ours = Host::founder("a", 1);
    let other = Host::founder("a", 9);
    // The other cluster's manager does not believe ours …
    let mut shown = ours.credentials();
    shown.ca = other.credentials().ca;
    shown.revocations = other.credentials().revocations;
    let error = get(&client(&shown), &other.url("/cluster")).await.expect_err("refused");
    assert!(error.contains("this host's certificate is not of its cluster"), "{error}");
    // … and we do not believe it.
    let error = get(&client(&ours.credentials()), &other.url("/cluster")).await.expect_err("refused");
    assert!(error.contains("its certificate is of another CA than this cluster's"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_an_address_outside_of_the_pool_is_refused_both_ways() {
    let a = Host::founder("a", 1);
    let b = Host::new("b", 2);
    b.join(&a);
    // b's intermediate signs for an address of a's pool.
    let stolen = crate::stage::address(10);
    let forged = forger::credentials_for(&b, stolen);
    serve(&forged, SocketAddr::from((stolen, 8443))).await;
    let error =
        get(&client(&a.credentials()), &format!("https://{stolen}:8443/")).await.expect_err("refused");
    assert!(error.contains("its certificate is for an address that its host must not certify"), "{error}");
    let error = get(&client(&forged), &a.url("/cluster")).await.expect_err("refused");
    assert!(error.contains("it does not accept this host's certificate"), "{error}");
    // For its own addresses it is believed.
    let own = crate::stage::address(20);
    serve(&forger::credentials_for(&b, own), SocketAddr::from((own, 8443))).await;
    let answer = get(&client(&a.credentials()), &format!("https://{own}:8443/")).await.expect("an answer");
    assert_eq!(&answer.body[..], b"hello");
}

#[tokio::test]
async fn a_certificate_is_good_at_its_own_address_only_and_while_it_is_valid() {
    let a = Host::founder("a", 1);
    let b = Host::new("b", 2);
    b.join(&a);
    let elsewhere = crate::stage::address(21);
    serve(&b.credentials(), SocketAddr::from((elsewhere, 8443))).await;
    let error =
        get(&client(&a.credentials()), &format!("https://{elsewhere}:8443/")).await.expect_err("refused");
    assert!(error.contains("its certificate is for another address"), "{error}");
    let expired = forger::expired_credentials(&b);
    let error = get(&client(&expired), &a.url("/cluster")).await.expect_err("refused");
    assert!(error.contains("expired or is not valid yet: compare the clocks"), "{error}");
    serve(&expired, SocketAddr::from((b.address, 8443))).await;
    let error = get(&client(&a.credentials()), &b.url("/")).await.expect_err("refused");
    assert!(error.contains("its certificate has expired: compare the clocks"), "{error}");
}

#[tokio::test]
async fn a_host_speaks_for_itself_only_whatever_it_writes_into_its_certificates() {
    let a = Host::founder("a", 1);
    let mut b = Host::new("b", 2);
    b.join(&a);
    let snapshot = |host: &str| {
        json!({"host": host, "address": b.address, "address_pool": [], "epoch": 1, "version": 1, "endpoints": [],
               "machines": [], "desired": 0, "lb": null})
    };
    let put = async |credentials: &Credentials, host: &str| {
        let url = a.url(&format!("/peers/{host}"));
        client(credentials).send(Method::PUT, &url, Some(&snapshot(host))).await.expect("an answer")
    };
    for credentials in [b.credentials(), forger::credentials_called(&b, "manager of c")] {
        let problem = put(&credentials, "c").await.accepted().expect_err("refused");
        assert_eq!((problem.status, problem.detail.as_str()), (403, "host `b` cannot speak for host `c`"));
    }
    // Without a certificate nobody speaks for anybody, by TLS or without.
    let plain = manager::tls::client::Client::plain(Duration::from_secs(10)).expect("a client");
    let url = format!("http://{}:8080/peers/b", a.address);
    let answer = plain.send(Method::PUT, &url, Some(&snapshot("b"))).await.expect("an answer");
    let problem = answer.accepted().expect_err("refused");
    assert_eq!(problem.status, 401);
    assert!(problem.detail.contains("has shown no certificate: this cluster is initialised"), "{problem:?}");
    b.start();
    a.hears("b", true).await;
}

#[tokio::test]
async fn a_token_is_not_taken_by_plain_http() {
    let a = Host::founder("a", 1);
    let plain = manager::tls::client::Client::plain(Duration::from_secs(10)).expect("a client");
    let (request, _) =
        manager::pki::enrolment::ask(&Host::new("b", 2).loaded(), "00".repeat(32)).expect("a request");
    let url = format!("http://{}:8080/pki/join", a.address);
    let answer = plain.send(Method::POST, &url, Some(&request)).await.expect("an answer");
    let problem = answer.accepted().expect_err("refused");
    assert_eq!(problem.status, 403);
    assert!(problem.detail.contains("by TLS only"), "{problem:?}");
}

#[test]
fn plain_http_on_the_tls_port_is_told_what_to_do() {
    let a = Host::founder("a", 1);
    let answer = speak_plainly(SocketAddr::from((a.address, 8443)));
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"),
        "{answer}"
    );
    assert!(answer.contains(&format!("this port speaks TLS: use https://{}:8443", a.address)), "{answer}");
}

/// Sends a plain request and reads until the end.
pub(crate) fn speak_plainly(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream.write_all(b"GET /cluster HTTP/1.1\r\nhost: x\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the whole answer, and no reset");
    answer
}
