//! Three managers keep what people put of services in a real etcd, that of Debian, with a member on each host: an edit anywhere
//! is an edit everywhere, also when one member and one host are lost. When two members are, everything serves on, and
//! nobody can change anything until one is back.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../cluster/lab.rs"]
#[allow(dead_code)]
mod lab;
mod members;
#[path = "../cluster/run.rs"]
mod run;

use std::fs;

use lab::{Lab, VIP, program};
use members::{HOSTS, Members};
use run::{Ended, eventually};

/// A service without machines, whose page says so: which edit it is of can be read at the public address.
fn says(text: &str) -> String {
    format!(
        "[[service]]\nname = \"notice\"\nreplicas = 0\n[[service.route]]\nhosts = [\"notice.example\"]\n\
         [service.policy]\nhold_ms = 0\n[service.error_pages]\n503 = {{ body = \"{text}\" }}\n"
    )
}

fn manager_of(host: &str) -> String {
    let (_, address) = HOSTS.iter().find(|(name, _)| *name == host).expect("a host");
    format!("http://{address}:8080")
}

/// A command of the manager's program on `host`, asked of its own manager.
fn ask(lab: &Lab, host: &str, words: &[&str]) -> Ended {
    let (program, manager) = (program("manager"), manager_of(host));
    lab.exec(host, &[&[program.as_str(), "--manager", &manager], words].concat())
}

/// Says `text` from `host`.
fn put(lab: &Lab, host: &str, text: &str) -> Ended {
    let file = lab.path().join(format!("{host}-notice.toml"));
    fs::write(&file, says(text)).expect("written");
    ask(lab, host, &["service", "apply", file.to_str().expect("a plain path")])
}

/// Waits until each of `hosts` has the definition that says `text`.
#[track_caller]
fn everywhere(lab: &Lab, hosts: &[&str], text: &str) {
    for host in hosts {
        eventually(&format!("{host} says {text}"), || {
            let shown = ask(lab, host, &["service", "show", "notice"]);
            (shown.code == Some(0) && shown.stdout.contains(text)).then_some(())
        });
    }
}

/// What the public address answers.
fn answer(lab: &Lab) -> String {
    let words = ["curl", "-sS", "-m", "5", "-H", "host: notice.example"];
    lab.exec("client", &[&words[..], &[&format!("http://{VIP}/")]].concat()).stdout
}

/// Whether clients are served by the machines too.
fn is_served(lab: &Lab) -> bool {
    let url = format!("http://{VIP}/random/number");
    lab.exec("client", &["curl", "-sS", "-m", "5", &url]).stdout.contains("value")
}

fn status(lab: &Lab, host: &str) -> String {
    ask(lab, host, &["status"]).stdout
}

#[test]
fn three_hosts_agree_on_services_as_long_as_two_etcd_members_live() {
    let members = Members::make();
    let settings = members.settings();
    let lab = Lab::begin_with(&[
        ("HOLDFAST_HOSTS", "a b c"),
        ("HOLDFAST_SETTINGS", settings.to_str().expect("a plain path")),
    ]);
    // Without etcd they serve, each with its file, and say what is frozen.
    eventually("a says that nothing can be changed", || {
        status(&lab, "a").contains("services are frozen").then_some(())
    });
    members.start_all(&lab);
    eventually("all is well", || {
        let view = lab.view(&manager_of("c"))?;
        let is_warned = view.hosts.iter().any(|host| !host.warnings.is_empty());
        (view.whole && view.hosts.len() == 3 && !is_warned).then_some(())
    });

    // An edit anywhere is an edit everywhere.
    put(&lab, "a", "first").ok();
    everywhere(&lab, &["a", "b", "c"], "first");
    put(&lab, "c", "second").ok();
    everywhere(&lab, &["a", "b", "c"], "second");
    eventually("clients get the second", || (answer(&lab) == "second").then_some(()));

    // One member is lost, and another host keeps its manager: three edits go on.
    members.kill(&lab, "b");
    put(&lab, "b", "third").ok();
    everywhere(&lab, &["a", "b", "c"], "third");
    members.start(&lab, "b");
    eventually("the member is back", || {
        let words = [
            "env",
            "ETCDCTL_API=3",
            "etcdctl",
            "--endpoints",
            "http://192.168.10.2:2379",
            "endpoint",
            "health",
        ];
        (lab.exec("b", &words).code == Some(0)).then_some(())
    });

    // A whole host is lost, with its member.
    lab.fault(&["lose", "c"]);
    put(&lab, "a", "fourth").ok();
    everywhere(&lab, &["a", "b"], "fourth");
    eventually("clients get the fourth", || (answer(&lab) == "fourth").then_some(()));
    assert!(is_served(&lab));

    // Of three members two are lost: everything serves on, and nothing can be changed.
    members.kill(&lab, "b");
    for host in ["a", "b"] {
        let said = eventually(&format!("{host} says what is frozen"), || {
            let said = status(&lab, host);
            said.contains("services are frozen as generation 4 has them").then_some(said)
        });
        println!("{said}");
        let refused = put(&lab, host, "fifth");
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.stderr.contains("services are frozen as generation 4"), "{refused:?}");
    }
    assert_eq!(answer(&lab), "fourth");
    assert!(is_served(&lab));
    // Nor does a manager that starts anew forget what was agreed on, or the machines what they serve.
    lab.fault(&["kill-manager"]);
    eventually("its manager is back", || lab.view(&manager_of("a")));
    everywhere(&lab, &["a"], "fourth");
    assert_eq!(answer(&lab), "fourth");

    // The second member returns: edits go on. So does the host, which missed some.
    members.start(&lab, "b");
    eventually("an edit is taken again", || (put(&lab, "b", "fifth").code == Some(0)).then_some(()));
    everywhere(&lab, &["a", "b"], "fifth");
    lab.fault(&["return", "c"]);
    members.start(&lab, "c");
    everywhere(&lab, &["c"], "fifth");
    eventually("nobody is warned of anything", || {
        let view = lab.view(&manager_of("c"))?;
        let is_warned = view.hosts.iter().any(|host| !host.warnings.is_empty());
        (view.whole && !is_warned).then_some(())
    });
    eventually("clients get the fifth", || (answer(&lab) == "fifth").then_some(()));
}
