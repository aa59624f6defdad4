//! A process that writes to the store is killed at any moment, and its disk is filled up: what it had been told is
//! stored, is stored.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use manager::store::{Store, Table};

use crate::run::{PATIENCE, run_within};

const COUNT: Table<u64> = Table::new("count");
const FILLER: Table<String> = Table::new("filler");
const DIRECTORY: &str = "HOLDFAST_TEST_STORE";

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "the writer that another test starts and kills"]
fn writer() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let store = Store::open(Path::new(&directory)).expect("a store");
    let mut count = store.get(&COUNT, "now").expect("readable").unwrap_or_default();
    loop {
        count += 1;
        // Tables grow, shrink and change hands, as in a life of years.
        let key = format!("{}", count % 50);
        store.put(&FILLER, &key, &"x".repeat((count as usize * 37) % 3_000)).expect("writable");
        store.remove(&FILLER, &format!("{}", (count * 7) % 50)).expect("writable");
        store.put(&COUNT, "now", &count).expect("writable");
        println!("stored {count}");
    }
}

#[test]
fn whatever_was_stored_is_there_after_sigkill_at_any_moment() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut last = 0;
    for round in 0..40_u64 {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::writer", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let told = thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            lines.filter_map(|line| line.split_once("stored ")?.1.parse::<u64>().ok()).last()
        });
        // From before the store is there to well into its life.
        thread::sleep(Duration::from_millis(round * round % 97 + round));
        process.kill().expect("it runs");
        process.wait().expect("it ended");
        let told = told.join().expect("read").unwrap_or(last);

        let store = Store::open(directory.path()).expect("a store");
        let found = store.get(&COUNT, "now").expect("readable").unwrap_or_default();
        assert!(found == told || found == told + 1, "told {told}, found {found} in round {round}");
        assert!(store.all(&FILLER).expect("readable").len() <= 50);
        assert!(!directory.path().join("store.redb.broken").exists(), "round {round}");
        last = found;
    }
    assert!(last > 20, "it wrote next to nothing: {last}");
}

/// Not a test of its own: what is done on a small disk in a mount namespace.
#[test]
#[ignore = "another test starts it where there is a small disk"]
fn on_a_small_disk() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let store = Store::open(directory).expect("a store");
    store.put(&COUNT, "now", &1).expect("there is room");
    let filler = directory.join("filler");
    for round in 0..5_u64 {
        let mut file = std::fs::File::create(&filler).expect("there is room for a name");
        while file.write_all(&[7; 4096]).is_ok() {}
        // Else its space would stay in use when it is removed.
        drop(file);
        // What has room in the file it has, is stored; at some point there is none any more.
        let mut stored = 0;
        let error = (0..2_000).find_map(|n| {
            let done = store.put(&FILLER, &format!("{round}-{n}"), &"x".repeat(3_000));
            stored += u64::from(done.is_ok());
            done.err()
        });
        let error = error.expect("the disk is full").to_string();
        assert!(error.contains("No space left"), "{error}");
        // Reading goes on, also for who opens it now; and so does the next try.
        assert_eq!(store.get(&COUNT, "now").expect("readable"), Some(round + 1));
        assert!(store.put(&FILLER, "large", &"x".repeat(1 << 20)).is_err(), "still full");
        assert!(store.all(&FILLER).expect("readable").len() as u64 >= stored.min(1));
        std::fs::remove_file(&filler).expect("there");
        store.put(&COUNT, "now", &(round + 2)).expect("there is room again");
        for key in store.all(&FILLER).expect("readable").keys() {
            store.remove(&FILLER, key).expect("writable");
        }
    }
    drop(store);
    assert!(!directory.join("store.redb.broken").exists());
    let again = Store::open(directory).expect("a store");
    assert_eq!(again.get(&COUNT, "now").expect("readable"), Some(6));
    println!("all of it was done");
}

#[test]
fn a_disk_that_fills_up_loses_nothing_and_is_gone_on_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    if !nix::unistd::getuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = format!(
        "mount -t tmpfs -o size=16m tmpfs \"${DIRECTORY}\" && exec \"$0\" --exact store::on_a_small_disk --ignored --nocapture"
    );
    command.args(["--mount", "sh", "-c", &script]).arg(program).env(DIRECTORY, directory.path());
    let said = run_within(&mut command, PATIENCE).ok();
    assert!(said.contains("all of it was done"), "{said}");
}
