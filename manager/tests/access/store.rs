//! A process that writes to the store is killed at any moment: what it had been told is stored, is stored.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use manager::store::{Store, Table};

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
