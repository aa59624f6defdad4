//! Tokens, the pin, and hosts that are like another one.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::run::eventually;
use crate::stage::{Host, address, network};

#[tokio::test]
async fn hosts_that_joined_know_each_other_without_a_line_of_configuration() {
    let a = Host::founder("a", 1);
    let mut b = Host::new("b", 2);
    let said = b.run(&["join", &a.address.to_string(), &a.token()]).ok();
    assert!(said.contains("`b` is in the cluster, with a ("), "{said}");
    b.start();
    a.hears("b", true).await;
    b.hears("a", true).await;
    // The third learns of both, and both of it, although it joined at one.
    let mut c = Host::new("c", 3);
    c.join(&a);
    c.start();
    for (host, others) in [(&a, ["b", "c"]), (&b, ["a", "c"]), (&c, ["a", "b"])] {
        for other in others {
            host.hears(other, true).await;
        }
    }
}

#[test]
fn a_token_lets_one_host_in_once() {
    let a = Host::founder("a", 1);
    let at = a.address.to_string();
    let token = a.token();
    assert!(token.starts_with("HF1."), "{token}");
    Host::new("b", 2).run(&["join", &at, &token]).ok();
    let error = Host::new("c", 3).refused(&["join", &at, &token]);
    assert!(error.contains("this token has been used already: `manager token` prints another"), "{error}");
}

#[test]
fn a_token_of_which_nobody_knows_and_one_that_expired_let_nobody_in() {
    let a = Host::founder("a", 1);
    let at = a.address.to_string();
    let b = Host::new("b", 2);
    let token = a.token();
    let (rest, secret) = token.rsplit_once('.').expect("three parts");
    let guessed = format!("{rest}.{}", secret.chars().rev().collect::<String>());
    let error = b.refused(&["join", &at, &guessed]);
    assert!(error.contains("this token is not known here"), "{error}");
    for typed in [&token[..80], "K10abc::server:secret"] {
        let ended = b.run(&["join", &at, typed]);
        assert!(ended.stderr.contains("this is no join token"), "{}", ended.stderr);
        assert_eq!(ended.code, Some(2), "it was typed wrongly");
    }
    let short = a.run(&["token", "--ttl", "1s"]).ok();
    let error = eventually("the token expires", || {
        thread::sleep(Duration::from_secs(2));
        Some(b.refused(&["join", &at, &short]))
    });
    assert!(error.contains("this token has expired: `manager token` prints another"), "{error}");
    // A refusal uses up nothing.
    b.run(&["join", &at, &token]).ok();
    assert_eq!(a.run(&["token", "--ttl", "0s"]).code, Some(2));
    assert_eq!(a.run(&["token", "--ttl", "8days"]).code, Some(2));
}

#[test]
fn tokens_are_stored_hashed() {
    let a = Host::new("a", 1);
    a.run(&["init"]).ok();
    let token = a.token();
    let secret = token.rsplit_once('.').expect("three parts").1.to_owned();
    let tokens = a.state().join("pki/tokens");
    let entries: Vec<_> =
        std::fs::read_dir(tokens).expect("readable").map(|entry| entry.expect("one").path()).collect();
    assert_eq!(entries.len(), 1);
    assert!(!entries[0].display().to_string().contains(&secret));
    assert!(!crate::stage::read(&entries[0]).contains(&secret));
}

#[test]
fn somebody_in_between_gets_nothing() {
    let ours = Host::founder("a", 1);
    let theirs = Host::founder("a", 9);
    let b = Host::new("b", 2);
    let token = ours.token();
    let error = b.refused(&["join", &theirs.address.to_string(), &token]);
    assert!(
        error.contains("the one who answers does not belong to the cluster that gave this token")
            && error.contains("Nothing was sent to it"),
        "{error}"
    );
    assert!(!b.state().join("pki").exists());
    assert!(!theirs.logged().contains("let into the cluster"), "{}", theirs.logged());
    // The secret is still one.
    b.run(&["join", &ours.address.to_string(), &token]).ok();
}

#[test]
fn no_two_hosts_have_anything_in_common() {
    let a = Host::founder("a", 1);
    let at = a.address.to_string();
    let [_, x, y, _] = network();
    let pool = |first: u8, last: u8| format!("127.{x}.{y}.{first}-127.{x}.{y}.{last}");
    let token = a.token();
    let cases = [
        (Host::new("a", 2), "the cluster has a host `a` already (at "),
        (Host::with("b", 2, &pool(16, 22), ""), "the address pool overlaps that of host `a`: both contain "),
        (Host::with("b", 12, &pool(20, 26), ""), "is in the address pool of host `a`"),
        (Host::with("b", 2, &format!("127.{x}.{y}.1"), ""), "the address of host `a`"),
    ];
    for (host, expected) in &cases {
        let error = host.refused(&["join", &at, &token]);
        assert!(error.contains(expected), "{error}");
        assert!(!host.state().join("pki").exists());
    }
    Host::new("b", 2).run(&["join", &at, &token]).ok();
}

#[test]
fn only_the_host_that_keeps_the_ca_lets_others_in() {
    let a = Host::founder("a", 1);
    let mut b = Host::new("b", 2);
    b.join(&a);
    b.start();
    let expected = format!(
        "the key of the cluster's CA is not on this host: host `a` at {} keeps it: do it there",
        a.address
    );
    for words in [&["token"][..], &["revoke", "a"]] {
        let error = b.refused(words);
        assert!(error.contains(&expected), "{error}");
    }
    let error = Host::new("c", 3).refused(&["join", &b.address.to_string(), &a.token()]);
    assert!(error.contains(&expected), "{error}");
    let error = b.refused(&["join", &a.address.to_string(), &a.token()]);
    assert!(error.contains("this host belongs to a cluster already, as `b`"), "{error}");
    let said = b.run(&["init"]).ok();
    assert!(
        said.contains("nothing was changed") && said.contains("the CA's key is on another host"),
        "{said}"
    );
}

#[test]
fn where_nobody_answers_that_is_said() {
    let b = Host::new("b", 2);
    let a = Host::new("a", 1);
    a.run(&["init"]).ok();
    let error = b.refused(&["join", &address(1).to_string(), &a.token()]);
    assert!(error.contains(&format!("cannot join at {}:8443: ", address(1))), "{error}");
    assert_eq!(b.run(&["join", "nowhere", &a.token()]).code, Some(2));
}

#[test]
fn a_join_that_cannot_be_stored_uses_nothing_up() {
    let a = Host::founder("a", 1);
    let (at, token) = (a.address.to_string(), a.token());
    let b = Host::new("b", 2);
    // Here: what is in the way is found before the token is shown.
    let in_the_way = b.state().join("pki.new");
    fs::write(&in_the_way, "").expect("written");
    let error = b.refused(&["join", &at, &token]);
    assert!(error.contains(&b.state().join("pki").display().to_string()), "{error}");
    fs::remove_file(&in_the_way).expect("removed");
    // There: it says whose disk it is, and lets nobody in halfway.
    let in_the_way = a.state().join("pki/members.json.part");
    fs::create_dir(&in_the_way).expect("made");
    let error = b.refused(&["join", &at, &token]);
    assert!(error.contains(&format!("the manager at {at}:8443 cannot: ")), "{error}");
    assert!(!b.state().join("pki").exists() && !b.state().join("pki.new").exists());
    fs::remove_dir(&in_the_way).expect("removed");
    b.run(&["join", &at, &token]).ok();
}

#[test]
fn a_manager_that_is_not_there_is_said_with_what_to_look_at() {
    let error = Host::new("b", 2).refused(&["join", &address(1).to_string(), &Host::founder("c", 3).token()]);
    assert!(error.contains("refused") && error.contains("Does the manager run there"), "{error}");
}
