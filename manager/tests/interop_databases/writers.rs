//! Clients that commit rows, one after the other, over a connection that they keep as long as it lasts. Each is a
//! `mariadb`, which is told a row to insert and says when it is committed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::lab::{Lab, VIP};
use crate::run::eventually;

/// Who writes.
pub(crate) const USER: &str = "writer";
pub(crate) const PASSWORD: &str = "written";

/// Their pause after a connection was lost: as any client has it.
const PAUSE: Duration = Duration::from_millis(50);

/// Writers at work.
pub(crate) struct Writers {
    committed: Arc<Mutex<BTreeSet<u64>>>,
    /// How often a connection was lost.
    lost: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Sets `count` of them to work.
    pub(crate) fn start(lab: &Lab, count: u64) -> Self {
        let (committed, stop) = (Arc::<Mutex<BTreeSet<u64>>>::default(), Arc::<AtomicBool>::default());
        let lost = Arc::<AtomicU64>::default();
        let threads = (0..count).map(|writer| {
            let (committed, lost, stop) = (committed.clone(), lost.clone(), stop.clone());
            let mut connect = lab.script("exec");
            connect.args([
                "client",
                "mariadb",
                "--no-defaults",
                "--batch",
                "--skip-column-names",
                "--unbuffered",
            ]);
            connect.args(["--skip-reconnect", "--connect-timeout=5", "--user", USER, "--host", VIP, "test"]);
            connect.arg(format!("--password={PASSWORD}"));
            thread::spawn(move || {
                // Numbers that no other writer gives, each at most once.
                let mut numbers = (0..).map(|number| number * count + writer);
                while !stop.load(Ordering::Relaxed) {
                    write(&mut connect, &mut numbers, &committed, &stop);
                    lost.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            })
        });
        let threads = threads.collect();
        Writers { committed, lost, stop, threads }
    }

    /// Waits until so many more rows were committed.
    pub(crate) fn go_on(&self, more: usize) {
        let before = self.count();
        eventually("more rows are committed", || (self.count() >= before + more).then_some(()));
    }

    pub(crate) fn count(&self) -> usize {
        self.committed.lock().expect("no writer panics").len()
    }

    /// How often a writer lost its connection so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lets them end. Returns the rows of which they know that they are committed.
    pub(crate) fn stop(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a writer"));
        let committed = self.committed.lock().expect("no writer panics");
        committed.clone()
    }
}

/// Writes rows over one connection until that ends.
fn write(
    connect: &mut Command,
    numbers: &mut impl Iterator<Item = u64>,
    committed: &Mutex<BTreeSet<u64>>,
    stop: &AtomicBool,
) {
    let spawned = connect.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut client = Ends(spawned.expect("a client"));
    let mut says = client.0.stdin.take().expect("piped");
    let mut hears = BufReader::new(client.0.stdout.take().expect("piped"));
    for number in numbers {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // The node's own word on who it is and what time it is, of all rows one clock: they run on one machine.
        let row = format!(
            "INSERT INTO written VALUES ({number}, @@wsrep_node_name, CAST(SYSDATE(6) AS CHAR)); SELECT {number};\n"
        );
        let mut answer = String::new();
        let is_said = says.write_all(row.as_bytes()).and_then(|()| says.flush());
        let is_heard = is_said.and_then(|()| hears.read_line(&mut answer));
        if is_heard.is_err() || answer.trim() != number.to_string() {
            return;
        }
        committed.lock().expect("no writer panics").insert(number);
    }
}

/// A client that ends with us.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
