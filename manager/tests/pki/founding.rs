//! `manager init`, and what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use manager::pki::keeper::Pki;
use nix::fcntl::{Flock, FlockArg};

use crate::forger::mode;
use crate::run::eventually;
use crate::stage::{Host, client, get, read};

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("readable") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            found.insert(
                entry.file_name().into_string().expect("text"),
                fs::read(entry.path()).expect("read"),
            );
        }
    }
    found
}

#[test]
fn a_second_init_says_what_there_is_and_changes_nothing() {
    let host = Host::new("a", 1);
    let said = host.run(&["init"]).ok();
    assert!(said.contains("`a` is its first host") && said.contains("manager token"), "{said}");
    let pki = host.state().join("pki");
    let before = contents(&pki);
    let said = host.run(&["init"]).ok();
    assert!(said.starts_with("This host belongs to a cluster already: nothing was changed."), "{said}");
    assert!(said.contains("keeps its CA") && said.contains(&pki.display().to_string()), "{said}");
    assert_eq!(contents(&pki), before);
}

#[test]
fn what_init_leaves_is_for_root_only_and_interrupted_work_is_no_cluster() {
    let host = Host::new("a", 1);
    // An earlier init was killed half way.
    let half = host.state().join("pki.new");
    fs::create_dir(&half).expect("made");
    fs::write(half.join("ca.key"), "half").expect("written");
    let error = host.refused(&["token"]);
    assert!(error.contains("this host belongs to no cluster yet: `manager init` makes one"), "{error}");
    host.run(&["init"]).ok();
    let pki = host.state().join("pki");
    assert!(!half.exists());
    assert_eq!(mode(&pki), 0o700);
    let files = contents(&pki);
    for name in
        ["ca.pem", "ca.key", "host-ca.pem", "host-ca.key", "host.json", "members.json", "revocations.pem"]
    {
        assert!(files.contains_key(name), "{name}");
        assert_eq!(mode(&pki.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_manager_that_runs_takes_the_certificates_up() {
    let mut host = Host::new("a", 1);
    host.start();
    host.run(&["init"]).ok();
    host.answers_on(8443);
    let client = client(&host.credentials());
    let answer = get(&client, &host.url("/health/live")).await.expect("an answer");
    assert_eq!(answer.status, 204);
    // Everybody may still look, as before.
    assert!(host.view().await.is_some());
}

#[tokio::test]
async fn damaged_certificates_are_named_and_open_nothing() {
    let mut host = Host::new("a", 1);
    host.run(&["init"]).ok();
    let path = host.state().join("pki/host-ca.key");
    let whole = read(&path);
    fs::write(&path, "-----BEGIN PRIVATE KEY-----\n").expect("written");
    // Machines are kept all the same, and nobody is believed for an address.
    host.start_plainly();
    let said = eventually("it is said", || Some(host.logged()).filter(|log| log.contains("CANNOT BE USED")));
    assert!(said.contains("a certificate or key cannot be used"), "{said}");
    let refusal = host.refuses_plainly().await;
    assert_eq!(refusal.status, 401, "{refusal:?}");
    // What is mended is taken up.
    fs::write(&path, whole).expect("written");
    host.answers_on(8443);
    fs::remove_file(host.state().join("pki/members.json")).expect("removed");
    let error = host.refused(&["revoke", "b"]);
    assert!(error.contains("members.json is missing"), "{error}");
    host.stop();
}

#[test]
fn the_first_host_is_certified_anew_when_its_pool_has_changed() {
    let host = Host::new("a", 1);
    host.run(&["init"]).ok();
    let [_, x, y, _] = crate::stage::network();
    let text = read(&host.config).replace(&format!("127.{x}.{y}.16"), &format!("127.{x}.{y}.18"));
    fs::write(&host.config, text).expect("written");
    let pki = Pki::new(&host.loaded());
    assert!(pki.take_up().expect("usable"));
    let added = crate::stage::address(18);
    let error = pki.seed_balancer(&"a-lb".into(), added).expect_err("refused").to_string();
    assert!(
        error.contains("is not of the address pool that host `a` was let into the cluster with"),
        "{error}"
    );
    let ca = read(&host.state().join("pki/ca.pem"));
    host.run(&["init", "--recertify"]).ok();
    assert_eq!(read(&host.state().join("pki/ca.pem")), ca, "it is the same cluster");
    let pki = Pki::new(&host.loaded());
    assert!(pki.take_up().expect("usable"));
    assert!(pki.seed_balancer(&"a-lb".into(), added).expect("certified").is_some());
    // It is for the host that keeps the CA.
    let error = Host::new("b", 2).refused(&["init", "--recertify"]);
    assert!(error.contains("belongs to no cluster yet"), "{error}");
}

#[test]
fn a_pool_in_too_many_pieces_is_no_pool_for_a_certificate() {
    let [_, x, _, _] = crate::stage::network();
    let pieces: Vec<String> =
        (0..600u32).map(|n| format!("127.{x}.{}.{}", n / 100 + 1, 2 * (n % 100) + 2)).collect();
    let host = Host::with("a", 1, &pieces.join("\", \""), "");
    let error = host.refused(&["init"]);
    assert!(
        error.contains("made of 600 networks") && error.contains("use fewer and larger ranges"),
        "{error}"
    );
    assert!(!host.state().join("pki").exists());
}

#[test]
fn clocks_may_differ_by_an_hour() {
    let host = Host::new("a", 1);
    host.run(&["init"]).ok();
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let pki = host.state().join("pki");
    for pem in [read(&pki.join("ca.pem")), read(&pki.join("host-ca.pem")), host.credentials().chain] {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
        let valid = pem.parse_x509().expect("a certificate").validity().clone();
        let earlier = now - valid.not_before.timestamp();
        assert!((3_600..3_660).contains(&earlier), "valid since {earlier} s ago");
    }
}

#[test]
fn init_is_done_by_one_at_a_time_and_leaves_the_way_to_the_socket_open() {
    let host = Host::new("a", 1);
    let at_work = fs::File::open(host.state()).expect("there");
    let at_work = Flock::lock(at_work, FlockArg::LockExclusiveNonblock).expect("locked");
    let error = host.refused(&["init"]);
    assert!(error.contains("another `manager init` or `manager join` is at work"), "{error}");
    drop(at_work);
    // As a manager makes it that runs first: the members of socket_group have to get through.
    fs::remove_dir(host.state()).expect("empty");
    host.run(&["init"]).ok();
    assert_eq!(mode(&host.state()) & 0o055, 0o055, "{:o}", mode(&host.state()));
    assert_eq!(mode(&host.state().join("pki")), 0o700);
    let left: Vec<_> =
        fs::read_dir(host.state()).expect("readable").flatten().map(|one| one.file_name()).collect();
    assert_eq!(left, ["pki"]);
}

#[test]
fn a_file_that_is_damaged_is_named_with_what_to_do() {
    let host = Host::new("a", 1);
    host.run(&["init"]).ok();
    fs::write(host.state().join("pki/members.json"), "rubbish").expect("written");
    for words in [&["init"][..], &["revoke", "b"]] {
        let error = host.refused(words);
        assert!(error.contains("members.json is damaged") && error.contains("docs/security.md"), "{error}");
    }
}
