//! A host is taken out of the cluster, and let in again.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::run::{PATIENCE, eventually};
use crate::stage::{Host, client, get, read};

#[tokio::test]
async fn a_revoked_host_is_refused_everywhere_and_may_come_back_with_a_new_token() {
    let a = Host::founder("a", 1);
    let (mut b, mut c) = (Host::new("b", 2), Host::new("c", 3));
    for host in [&mut b, &mut c] {
        host.join(&a);
        host.start();
    }
    for (host, other) in [(&a, "b"), (&b, "c"), (&c, "b")] {
        host.hears(other, true).await;
    }
    // One connection to each of the others, in use before and after.
    let running = client(&b.credentials());
    for host in [&a, &c] {
        assert_eq!(get(&running, &host.url("/health/live")).await.expect("an answer").status, 204);
    }
    let credentials = b.credentials();
    let said = a.run(&["revoke", "b"]).ok();
    assert!(said.contains("`b` at") && said.contains("manager forget b"), "{said}");
    // The founder's manager tells the third, which heard of it from nobody else.
    for host in [&a, &c] {
        host.hears("b", false).await;
        let url = host.url("/cluster");
        // By a new connection …
        let error = get(&client(&credentials), &url).await.expect_err("refused");
        assert!(error.contains("it says that this host has been revoked"), "{error}");
        // … and by one that was let in before.
        get(&running, &url).await.expect_err("refused");
    }
    // Nobody believes it when it is asked, either.
    let list = get(&client(&a.credentials()), &a.url("/pki/revocations")).await.expect("an answer");
    let mut believing = a.credentials();
    believing.revocations = list.json::<wire::tls::Revocations>().expect("a list").revocations;
    let error = get(&client(&believing), &b.url("/cluster")).await.expect_err("refused");
    assert!(error.contains("its certificate is of a host that has been revoked"), "{error}");
    a.hears("c", true).await;

    let error = a.refused(&["revoke", "b"]);
    assert!(error.contains("there is no host `b` in the cluster; there is: c"), "{error}");
    let error = a.refused(&["revoke", "a"]);
    assert!(error.contains("`a` keeps the CA"), "{error}");

    // As the messages say: without its old certificates, with a new token, under its old name.
    b.stop();
    fs::remove_dir_all(b.state().join("pki")).expect("removed");
    b.join(&a);
    b.start();
    for (host, other) in [(&a, "b"), (&c, "b"), (&b, "a"), (&b, "c")] {
        host.hears(other, true).await;
    }
}

#[tokio::test]
async fn a_manager_that_was_away_learns_of_a_revocation_when_it_is_back() {
    let a = Host::founder("a", 1);
    let (b, mut c) = (Host::new("b", 2), Host::new("c", 3));
    b.join(&a);
    c.join(&a);
    a.run(&["revoke", "b"]).ok();
    c.start();
    a.hears("c", true).await;
    let limit = Instant::now() + PATIENCE;
    loop {
        match get(&client(&b.credentials()), &c.url("/cluster")).await {
            Err(error) if error.contains("it says that this host has been revoked") => break,
            answer => assert!(Instant::now() < limit, "{answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It keeps what it was told, once the disk has it, and goes by it from its first moment.
    let list = |host: &Host| read(&host.state().join("pki/revocations.pem"));
    eventually("c has stored the list", || (list(&c) == list(&a)).then_some(()));
    c.stop();
    drop(a);
    c.start();
    assert!(TcpStream::connect(SocketAddr::from((c.address, 8443))).is_ok());
    let error = get(&client(&b.credentials()), &c.url("/cluster")).await.expect_err("refused");
    assert!(error.contains("it says that this host has been revoked"), "{error}");
}

#[tokio::test]
async fn a_list_that_the_ca_has_not_signed_is_not_taken() {
    let a = Host::founder("a", 1);
    let other = Host::founder("a", 9);
    let ours = client(&a.credentials());
    let put = async |revocations: String| {
        let list = wire::tls::Revocations { revocations };
        ours.send(http::Method::PUT, &a.url("/pki/revocations"), Some(&list))
            .await
            .expect("an answer")
            .accepted()
    };
    for (list, expected) in [
        (other.credentials().revocations, "the CA has not signed it"),
        ("nonsense".to_owned(), "this is no list of revocations of this cluster"),
    ] {
        let problem = put(list).await.expect_err("refused");
        assert!(problem.status == 409 && problem.detail.contains(expected), "{problem:?}");
    }
    put(a.credentials().revocations).await.expect("the one that it has");
}

#[test]
fn a_ca_that_was_put_back_from_an_old_copy_forgets_nobody_who_was_revoked() {
    let a = Host::new("a", 1);
    a.run(&["init"]).ok();
    let pki = a.state().join("pki");
    let mut a = a;
    a.start();
    let (b, c) = (Host::new("b", 2), Host::new("c", 3));
    b.join(&a);
    c.join(&a);
    let with_c = crate::stage::read(&pki.join("members.json"));
    a.run(&["revoke", "b"]).ok();
    // The copy knows of c, and not that b was revoked.
    fs::write(pki.join("members.json"), with_c).expect("written");
    a.run(&["revoke", "c"]).ok();
    let list = crate::stage::read(&pki.join("revocations.pem"));
    for host in [&b, &c] {
        let mut shown = a.credentials();
        shown.revocations.clone_from(&list);
        let believing = kit::tls::Live::new(&shown, kit::tls::Clients::Anybody).expect("usable");
        let error = believing.verify_pem(&host.credentials().chain).expect_err("revoked");
        assert!(error.to_string().contains("Revoked"), "{error}");
    }
}
