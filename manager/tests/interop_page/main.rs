//! The status page in a real browser: Chromium opens it inside a lab of two hosts and a client, and what it shows
//! while things die is what happened.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../cluster/lab.rs"]
#[allow(dead_code, reason = "each of the labs' users needs another part of them")]
mod lab;
#[path = "../cluster/run.rs"]
#[allow(dead_code, reason = "the same")]
mod run;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use lab::{Lab, MANAGERS};
use run::eventually;
use serde_json::{Value, json};

const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop_page/browser.py");

/// A browser on the lab's client: one command a line, one answer a line.
struct Browser {
    process: Child,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    fn start(lab: &Lab) -> Self {
        Self::start_on(lab, "client")
    }

    /// On a host (`a`, `b`) or on the client.
    fn start_on(lab: &Lab, at: &str) -> Self {
        // Where `need_python` of deploy/lib.sh puts it.
        let python = lab::programs().with_file_name("python").join("bin/python");
        assert!(python.is_file(), "no {}: run deploy/test.sh interop, which makes it", python.display());
        let mut process = lab
            .script("exec")
            .arg(at)
            .args([python.to_str().expect("a plain name"), DRIVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser's driver");
        let stdin = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        Browser { process, stdin, answers }
    }

    #[track_caller]
    fn ask(&mut self, command: Value) -> Value {
        writeln!(self.stdin, "{command}").expect("the driver lives");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the driver lives");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(answer.get("error"), None, "{command}: {answer}");
        answer["value"].clone()
    }

    fn open(&mut self, url: &str) {
        self.ask(json!({ "do": "open", "url": url }));
    }

    /// What an expression of the page comes to.
    fn value(&mut self, script: &str) -> Value {
        self.ask(json!({ "do": "value", "script": script }))
    }

    #[track_caller]
    fn wait(&mut self, what: &str, script: &str) {
        eventually(what, || self.value(script).as_bool().filter(|so| *so).map(drop));
    }

    fn click(&mut self, selector: &str) {
        self.ask(json!({ "do": "click", "selector": selector }));
    }

    /// Pictures are kept beside the other results of tests, for whoever wants to look.
    fn pictures(&mut self, name: &str) {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        for (kind, scheme, width) in
            [("light", "light", 1180), ("dark", "dark", 1180), ("phone", "light", 360)]
        {
            let file = path.join(format!("{name}-{kind}.png"));
            let wide = self.ask(json!({ "do": "picture", "scheme": scheme, "width": width, "file": file }));
            assert!(
                wide.as_u64() <= Some(width),
                "{name} is {wide} wide on {width}: it must not scroll sideways"
            );
        }
    }

    /// No complaint of the browser, and none of axe-core that it calls serious or worse, in either colour scheme.
    #[track_caller]
    fn is_clean(&mut self) {
        for scheme in ["light", "dark"] {
            let found = self.ask(json!({ "do": "axe", "scheme": scheme }));
            assert_eq!(found, json!([]), "axe-core, {scheme}");
        }
        assert_eq!(self.ask(json!({ "do": "complaints" })), json!([]));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its input.
        let _ = writeln!(self.stdin, "{}", json!({ "do": "end" }));
        let _ = self.process.wait();
    }
}

/// Writes down every phase a machine is shown in from now on.
const WATCH: &str = "(id => {
    window.phases = [];
    const look = () => {
        const phase = document.querySelector(`[data-machine='${id}']`)?.dataset.phase ?? 'Gone';
        if (window.phases.at(-1) !== phase) window.phases.push(phase);
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
    look();
    window.opened = performance.timeOrigin;
    return true;
})";

#[test]
fn the_page_shows_a_death_and_a_change_of_holder_without_being_loaded_again() {
    let lab = Lab::start();
    let mut browser = Browser::start(&lab);
    browser.open(&format!("{}/", MANAGERS[0]));
    browser.wait("the page is whole", "document.querySelector('#summary').innerText.includes('redundant')");
    browser.wait(
        "every machine is shown as ready",
        "document.querySelectorAll('.machine[data-phase=Ready]').length === 6",
    );
    browser.wait("it is live", "document.querySelector('#freshness').innerText.startsWith('live')");

    browser.value(&format!("{WATCH}('a-stateless-1')"));
    lab.fault(&["freeze", "a-stateless-1"]);
    browser.wait("the machine is back", "window.phases.length > 2 && window.phases.at(-1) === 'Ready'");
    let phases = browser.value("window.phases");
    let names: Vec<&str> = phases.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(names.first(), Some(&"Ready"), "{phases}");
    let at = |phase: &str| names.iter().position(|name| *name == phase);
    assert!(at("Suspect") < at("Dead") && at("Dead") < at("Booting"), "{phases}");
    for phase in ["Suspect", "Dead", "Booting"] {
        assert!(names.contains(&phase), "{phase} was not shown: {phases}");
    }
    browser.wait(
        "what happened is told",
        "[...document.querySelectorAll('#events li')].some(li => li.innerText.includes('a-stateless-1'))",
    );

    let holder = lab.holder();
    browser.wait(
        "the holder is shown",
        &format!("document.querySelector('#summary').innerText.includes('{holder}')"),
    );
    lab.fault(&["kill-lb"]);
    let other = if holder == "a-lb" { "b-lb" } else { "a-lb" };
    browser.wait(
        "the other holds it",
        &format!("document.querySelector('#summary').innerText.includes('{other}')"),
    );
    assert_eq!(browser.value("window.opened === performance.timeOrigin"), json!(true), "it was loaded again");

    lab.wait_until_whole();
    browser.wait("all is well again", "document.querySelector('#summary').innerText.includes('redundant')");
    browser.pictures("status");
    browser.is_clean();

    // A balancer's own page.
    browser.open("http://192.168.10.10:8080/");
    browser.wait("its upstreams are shown", "document.querySelectorAll('tr[data-state=up]').length === 4");
    browser.pictures("balancer");
    browser.is_clean();
}

#[test]
fn people_have_things_done_from_the_page_and_are_told_why_not() {
    let lab = Lab::start();
    let mut browser = Browser::start(&lab);
    // The client is nobody's peer: it may look, and no more.
    browser.open(&format!("{}/", MANAGERS[0]));
    browser.wait("the page is whole", "document.querySelector('#summary').innerText.includes('redundant')");
    browser.click("#replace-a-stateless-1");
    browser.wait("it asks first", "document.querySelector('#confirm').open");
    browser.click("#confirm-yes");
    browser.wait("it says why not", "document.querySelector('#confirm-error').innerText.length > 10");
    let why = browser.value("document.querySelector('#confirm-error').innerText");
    assert!(why.as_str().is_some_and(|why| why.contains("token") || why.contains("init")), "{why}");
    browser.click("#confirm-no");
    assert_eq!(browser.value("document.querySelector('#confirm').open"), json!(false));
    assert_eq!(lab::machine(&lab.cluster(), "a-stateless-1").restarts, 0);
    // What a machine says is read in the same place.
    browser.click("#logs-a-stateless-1");
    browser.wait("the console is shown", "document.querySelector('#confirm-text').innerText.length > 3");
    browser.click("#confirm-no");
    drop(browser);

    // On the host itself everybody who is there may.
    let mut browser = Browser::start_on(&lab, "a");
    browser.open("http://192.168.10.1:8080/");
    browser.wait("the page is whole", "document.querySelector('#summary').innerText.includes('redundant')");
    browser.click("#create");
    browser.wait("it asks which", "!document.querySelector('#confirm-choice-label').hidden");
    browser.click("#confirm-yes");
    browser.wait(
        "it is shown",
        "document.querySelector('[data-machine=a-stateless-3][data-phase=Ready]') !== null",
    );
    browser.click("#delete-a-stateless-3");
    browser.click("#confirm-yes");
    browser.wait("it is gone", "document.querySelector('[data-machine=a-stateless-3]') === null");
    let holder = lab.holder();
    let other = if holder == "a-lb" { "b" } else { "a" };
    browser.click("#switchover");
    browser.value(&format!("(document.querySelector('#confirm-choice').value = '{other}', true)"));
    browser.click("#confirm-yes");
    browser.wait(
        "it moved",
        &format!("document.querySelector('#summary').innerText.includes('held by {other}-lb')"),
    );
}
