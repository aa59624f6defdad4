//! Services that run over all hosts: a lost host's share runs elsewhere, and moves back unnoticed. And machines that keep
//! their disk, which stay where that is.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use wire::cluster::{ClusterView, Phase};

use crate::lab::{Lab, MANAGERS, host, machine, program};
use crate::load::Load;
use crate::run::eventually;
use crate::services::lab_of;

/// A lost host's share runs elsewhere within this.
const TAKEN_OVER: Duration = Duration::from_secs(10);

/// How many ready machines of `service` each of the hosts `a` and `b` has.
fn ready(view: &ClusterView, service: &str) -> [usize; 2] {
    ["a", "b"].map(|name| {
        let host = host(view, name);
        let machines = host.machines.iter().filter(|machine| machine.service.as_str() == service);
        machines.filter(|machine| host.alive && machine.phase == Phase::Ready).count()
    })
}

/// Waits until each host has so many, in the eyes of `manager`.
#[track_caller]
fn wait_for(lab: &Lab, manager: &str, service: &str, expected: [usize; 2]) {
    eventually(&format!("{service} runs {expected:?} times"), || {
        let view = lab.view(manager)?;
        (ready(&view, service) == expected).then_some(())
    });
}

/// What a command of the manager's program on host `at` says.
fn said(lab: &Lab, at: &str, words: &[&str]) -> String {
    let manager = program("manager");
    let own = MANAGERS[usize::from(at == "b")];
    lab.exec(at, &[&[manager.as_str(), "--manager", own], words].concat()).ok()
}

#[test]
fn a_lost_hosts_share_runs_elsewhere_and_moves_back_without_a_failed_request() {
    let web = "[[service]]\nname = \"web\"\ntotal = 4\n[[service.route]]\nhosts = [\"web.example\"]\n";
    let (lab, _settings) = lab_of(web, &[("HOLDFAST_HOST_RETURN", "20")]);
    wait_for(&lab, MANAGERS[0], "web", [2, 2]);
    let lost = usize::from(lab.holder().starts_with("b-"));
    let survivor = MANAGERS[1 - lost];
    let all_there = if lost == 0 { [0, 4] } else { [4, 0] };
    let load = |seconds| Load::of_seconds(seconds).with("--header", "host: web.example");
    thread::scope(|scope| {
        // The host of the public address, with everything on it: who was being answered there may notice.
        let noticed = load(8).start(&lab, scope);
        let (began, fault) = (Instant::now(), scope.spawn(|| lab.fault(&["kill-host"])));
        wait_for(&lab, survivor, "web", all_there);
        let took = began.elapsed();
        assert!(took < TAKEN_OVER, "its share runs elsewhere after {took:?}");
        println!(
            "its share runs elsewhere after {took:?}, with 8 s of load beginning before: {}",
            noticed.join().expect("a report")
        );

        // It returns, and nobody does.
        let unnoticed = load(35).start(&lab, scope);
        fault.join().expect("the host returns");
        wait_for(&lab, survivor, "web", [2, 2]);
        let moved = began.elapsed();
        println!("all is where it was after {moved:?}");
        unnoticed.join().expect("a report").assert_nobody_noticed();
    });
    let view = lab.wait_until_whole();
    assert_eq!(ready(&view, "web"), [2, 2]);
    let all = view.hosts.iter().flat_map(|host| &host.machines);
    assert_eq!(
        all.filter(|machine| machine.service.as_str() == "web").count(),
        4,
        "exactly as many as asked for"
    );
}

#[test]
fn people_say_how_many_and_the_managers_where() {
    let web = |total: u32| format!("[[service]]\nname = \"web\"\ntotal = {total}\nspread = \"hard\"\n");
    let (lab, settings) = lab_of(&web(3), &[]);
    wait_for(&lab, MANAGERS[0], "web", [1, 1]);
    let warnings = eventually("it is said that one finds no host", || {
        let warnings = host(&lab.view(MANAGERS[0])?, "a").warnings.clone();
        (!warnings.is_empty()).then_some(warnings)
    });
    assert!(warnings[0].contains("no host has room for 1 of the 3 machines of `web`"), "{warnings:?}");
    let list = said(&lab, "a", &["service", "ls"]);
    assert!(list.lines().any(|line| line.contains("web") && line.contains("1 of 3")), "{list}");
    let shown = said(&lab, "b", &["service", "show", "web"]);
    assert!(
        shown.contains(
            "# 3 machines over all hosts, 1 of them on this one; 2 take requests; no host has room for 1"
        ),
        "{shown}"
    );
    assert!(shown.contains("total = 3") && shown.contains("spread = \"hard\""), "{shown}");
    for words in [&["vm", "create", "web"][..], &["vm", "delete", "a-web-1"]] {
        let manager = program("manager");
        let refused = lab.exec("a", &[&[manager.as_str(), "--manager", MANAGERS[0]], words].concat());
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("change its `total` instead"), "{refused:?}");
    }

    // Softly, there are as many as asked for; and fewer when fewer are.
    let file = settings.path().join("other.toml");
    let path = file.to_str().expect("a plain name");
    for (total, shares) in [(5, [[2, 3], [3, 2]]), (1, [[0, 1], [1, 0]])] {
        std::fs::write(&file, web(total).replace("hard", "soft")).expect("written");
        let told = said(&lab, "a", &["service", "apply", path]);
        assert!(told.contains(&format!("{total} over all hosts")), "{told}");
        eventually("they are placed", || {
            let view = lab.view(MANAGERS[1])?;
            let is_placed = shares.contains(&ready(&view, "web"));
            (is_placed && view.whole && host(&view, "a").warnings.is_empty()).then_some(())
        });
    }
}

/// Where the program of machine `id` of host `at` finds its disk.
fn disk_of(lab: &Lab, at: &str, id: &str) -> PathBuf {
    let all = format!(
        "for p in $(pgrep -f 'state/machines/{id}/guest/settings'); do tr '\\0' '\\n' </proc/$p/environ; done"
    );
    let environment = lab.exec(at, &["sh", "-c", &all]).stdout;
    let path = environment.lines().find_map(|line| line.strip_prefix("STATE_DIRECTORY="));
    PathBuf::from(path.unwrap_or_else(|| panic!("no disk of {id}: {environment}")))
}

#[test]
fn a_machine_that_is_killed_keeps_its_disk_and_a_lost_host_its_machines() {
    let db = "[[service]]\nname = \"db\"\nreplicas = 1\npersistent = true\n[[service]]\nname = \"web\"\ntotal = 2\n";
    let (lab, _settings) = lab_of(db, &[("HOLDFAST_HOST_RETURN", "12")]);
    wait_for(&lab, MANAGERS[0], "web", [1, 1]);
    let write = |at: &str, id: &str| {
        let file = disk_of(&lab, at, id).join("ledger");
        std::fs::write(&file, format!("of {id}")).expect("a disk that can be written to");
        file
    };
    let ledger = write("a", "a-db-1");
    let before = machine(&lab.cluster(), "a-db-1").clone();
    lab.fault(&["kill", "a-db-1"]);
    let is_back = |manager: &str, id: &str, after: u64| {
        eventually("it is back", || {
            let view = lab.view(manager)?;
            let now = crate::lab::machines(&view).into_iter().find(|now| now.id.as_str() == id)?;
            (now.incarnation > after && now.phase == Phase::Ready).then_some(())
        });
    };
    is_back(MANAGERS[0], "a-db-1", before.incarnation);
    assert_eq!(disk_of(&lab, "a", "a-db-1").join("ledger"), ledger);
    assert_eq!(std::fs::read_to_string(&ledger).expect("kept"), "of a-db-1");
    let log = crate::lab::read(&lab.host_file("a", "manager.log"));
    assert!(log.contains("restarting with its disk"), "{log}");

    // Replaced by order, it keeps it too; and what others have is theirs.
    said(&lab, "a", &["vm", "replace", "a-db-1"]);
    is_back(MANAGERS[0], "a-db-1", before.incarnation + 1);
    assert_eq!(std::fs::read_to_string(&ledger).expect("kept"), "of a-db-1");
    lab.wait_until_whole();
    let other = write("b", "b-db-1");
    assert_ne!(other, ledger);

    // A host is lost: what can run elsewhere does, and its disks wait for it.
    let lost = usize::from(lab.holder().starts_with("b-"));
    let (lost_id, survivor) = (["a-db-1", "b-db-1"][lost], MANAGERS[1 - lost]);
    let lost_before = machine(&lab.cluster(), lost_id).incarnation;
    thread::scope(|scope| {
        let fault = scope.spawn(|| lab.fault(&["kill-host"]));
        wait_for(&lab, survivor, "web", if lost == 0 { [0, 2] } else { [2, 0] });
        let view = lab.view(survivor).expect("it answers");
        assert_eq!(
            ready(&view, "db"),
            if lost == 0 { [0, 1] } else { [1, 0] },
            "nobody takes over what has data"
        );
        fault.join().expect("the host returns");
    });
    is_back(survivor, lost_id, lost_before);
    lab.wait_until_whole();
    for (file, id) in [(&ledger, "a-db-1"), (&other, "b-db-1")] {
        assert_eq!(std::fs::read_to_string(file).expect("kept"), format!("of {id}"));
    }
    wait_for(&lab, survivor, "web", [1, 1]);
}
