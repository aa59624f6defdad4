//! A changed service is rolled out under load, and a change whose machines do not become ready is taken back, with and
//! without anybody who waits for it.

use crate::lab::{Lab, MANAGERS, program};
use crate::load::Load;
use crate::run::{Ended, eventually};

/// The shop with a readiness probe of `path`, and `more` in its definition.
fn shop(path: &str, more: &str) -> String {
    format!(
        "[[service]]\nname = \"shop\"\nreplicas = 1\n{more}\n[service.rollout]\nready_within_ms = 8000\n\
         [[service.route]]\nhosts = [\"shop.example\"]\n\
         [service.readiness]\nkind = \"http\"\nperiod_ms = 100\npath = \"{path}\"\n"
    )
}

fn version(version: &str) -> String {
    shop("/health/ready", &format!("environment = {{ VERSION = \"{version}\" }}"))
}

fn apply(lab: &Lab, definition: &str) -> Ended {
    let file = lab.path().join("shop.toml");
    std::fs::write(&file, definition).expect("written");
    let (manager, file) = (program("manager"), file.to_str().expect("a plain name"));
    lab.exec("a", &[&manager, "--manager", MANAGERS[0], "service", "apply", file, "--roll"])
}

/// How many programs of both hosts run with this variable.
fn running(lab: &Lab, variable: &str) -> usize {
    let of = |host: &str| {
        let all = lab.exec(host, &["sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"]).stdout;
        all.lines().filter(|other| *other == variable).count()
    };
    of("a") + of("b")
}

fn under_load(lab: &Lab, seconds: u64, work: impl FnOnce()) {
    std::thread::scope(|scope| {
        let load = Load::of_seconds(seconds).with("--header", "host: shop.example").start(lab, scope);
        work();
        load.join().expect("a report").assert_nobody_noticed();
    });
}

#[test]
fn a_change_is_rolled_out_host_by_host_and_a_bad_one_is_taken_back_everywhere() {
    let lab = Lab::start();
    apply(&lab, &version("one")).ok();
    under_load(&lab, 10, || {
        let said = apply(&lab, &version("two")).ok();
        assert!(said.contains("shop is rolled out on host a") && said.contains("host b"), "{said}");
    });
    eventually("the old ones are gone", || {
        (running(&lab, "VERSION=one") == 0 && running(&lab, "VERSION=two") == 2).then_some(())
    });

    // A program that is nowhere, and one that never becomes ready: the second host is not even asked.
    let three = "environment = { VERSION = \"three\" }";
    for (path, bad) in [("/health/ready", "program = \"no-such-program\""), ("/no-such-page", three)] {
        under_load(&lab, 20, || {
            let stopped = apply(&lab, &shop(path, bad));
            assert_eq!(stopped.code, Some(1), "{stopped:?}");
            assert!(stopped.stderr.contains("is again what it was before"), "{stopped:?}");
        });
        lab.wait_until_whole();
        eventually("all is as before", || {
            (running(&lab, "VERSION=two") == 2 && running(&lab, "VERSION=three") == 0).then_some(())
        });
    }
}

#[test]
fn a_host_takes_a_bad_change_back_though_nobody_waits_and_its_manager_dies() {
    let lab = Lab::start();
    apply(&lab, &version("one")).ok();
    let shown = lab.exec("a", &["curl", "-sf", &format!("{}/services/shop", MANAGERS[0])]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let mut spec = shown["spec"].clone();
    spec["readiness"]["path"] = "/no-such-page".into();
    spec["environment"]["VERSION"] = "two".into();
    let url = format!("{}/services/shop", MANAGERS[0]);
    under_load(&lab, 25, || {
        lab.exec("a", &["curl", "-sf", "-X", "PUT", "--json", &spec.to_string(), &url]).ok();
        lab.exec("a", &["curl", "-sf", "-X", "POST", "--json", "{}", &format!("{url}/roll")]).ok();
        eventually("the first machine is being built", || (running(&lab, "VERSION=two") > 0).then_some(()));
        lab.fault(&["kill-manager"]);
        let ended = eventually("it is taken back", || {
            let view: serde_json::Value =
                serde_json::from_str(&lab.exec("a", &["curl", "-sf", "--max-time", "2", &url]).stdout)
                    .ok()?;
            (view["rollout"]["state"] == "rolled_back").then_some(view)
        });
        assert_eq!(ended["spec"]["readiness"]["path"], "/health/ready", "{ended}");
    });
    lab.wait_until_whole();
    eventually("all is as before", || {
        (running(&lab, "VERSION=one") == 2 && running(&lab, "VERSION=two") == 0).then_some(())
    });
}
