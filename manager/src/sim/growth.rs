//! What a cluster costs as it grows, and how long it takes to know of a change: 2, 8 and 64 hosts with 10,000 endpoints
//! between them. `GROWTH_TABLE=write` in the environment writes the table of docs/growth.md anew.
//!
//! Each host names only the first two in `peers`, and learns of the others. Nothing breaks but what a run is about, so that
//! what is counted is what is always paid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use wire::EndpointId;

use super::checked::CHECKED;
use super::meter::{Said, Sum};
use super::world::{Options, World};
use crate::config::Config;
use crate::engine::testing::parse;

/// The endpoints of all hosts together.
const ENDPOINTS: usize = 10_000;

/// All is known to all after a change within this.
const CONVERGES: Duration = Duration::from_secs(5);

/// Before anything is counted, all get ready.
const START: Duration = Duration::from_secs(20);

/// So long is counted what is paid while nothing happens: as long as the longest of all intervals.
const IDLE: Duration = Duration::from_secs(60);

/// How often it is looked whether all know of a change.
const LOOK: Duration = Duration::from_millis(5);

/// Where the table is between two lines of the page.
const BEGIN: &str = "<!-- made by `GROWTH_TABLE=write`: begin -->\n";
const END: &str = "<!-- made by `GROWTH_TABLE=write`: end -->\n";

/// What was found of a cluster.
struct Figures {
    hosts: usize,
    /// The checks that all balancers begin in a second, where each that is checked is asked once a second by whoever does.
    checks: f64,
    idle: BTreeMap<Said, Sum>,
    /// From a machine's end until no balancer has it in its set.
    gone_after: Duration,
    /// From a machine's end until every balancer has its successor.
    back_after: Duration,
    /// What was said in that time.
    change: BTreeMap<Said, Sum>,
    /// From a manager's end until every other one counts it as lost.
    lost_after: Duration,
}

/// Host number `index` of `count`, with its share of all endpoints, and further lines for its service.
fn config(index: usize, count: usize, more: &str) -> Config {
    let own = index + 1;
    let replicas = ENDPOINTS / count + usize::from(index < ENDPOINTS % count);
    let peers: Vec<String> =
        (0..2).filter(|peer| *peer != index).map(|peer| format!("\"10.{}.0.1\"", peer + 1)).collect();
    parse(&format!(
        "name = \"h{index:02}\"\naddress = \"10.{own}.0.1\"\nprefix = 8\npeers = [{}]\n\
         gateway = \"10.{own}.0.1\"\nhypervisor = \"namespaces\"\naddress_pool = [\"10.{own}.1.0-10.{own}.39.255\"]\n\
         [[vip]]\naddress = \"10.255.255.120\"\nvrid = 50\nrole = \"{}\"\n\
         [[service]]\nname = \"stateless\"\nreplicas = {replicas}\n{more}",
        peers.join(", "),
        if index == 0 { "master" } else { "secondary" },
    ))
}

/// So many hosts, ready, whose balancers check all machines; `is_mesh`: all of them ask each other, however many they are, and
/// no balancer asks anybody.
fn ready(count: usize, is_mesh: bool) -> World {
    let circle_from = is_mesh.then_some(usize::MAX);
    let options = Options { faults: 0, measured: true, circle_from, ..Options::of(count as u64) };
    let more = if is_mesh { "" } else { CHECKED };
    let mut world = World::of(options, (0..count).map(|index| config(index, count, more)).collect());
    world.run_for(START);
    assert!(world.checks.violation.is_none(), "{:?}", world.checks.violation);
    assert_eq!(ids(&world, count - 1).len(), ENDPOINTS, "{count} hosts are ready");
    assert!(all_know(&world), "{count} hosts know of each other");
    world
}

/// The ids of what the balancer of `host` sends requests to.
fn ids(world: &World, host: usize) -> BTreeSet<&EndpointId> {
    let balancer = world.hosts[host].balancer().and_then(|guest| guest.balancer.as_ref());
    balancer
        .iter()
        .flat_map(|lb| lb.proxy.set.pools.values().flatten())
        .map(|upstream| &upstream.id)
        .collect()
}

/// Whether the balancer of each host has exactly what serves.
fn all_know(world: &World) -> bool {
    let guests = world.hosts.iter().flat_map(|host| host.guests.values()).filter(|guest| guest.serves());
    let serving: BTreeSet<EndpointId> =
        guests.map(|guest| EndpointId::of(&guest.purpose.id, guest.purpose.incarnation)).collect();
    (0..world.hosts.len()).all(|host| ids(world, host).into_iter().eq(&serving))
}

/// How many balancers have `endpoint`.
fn have(world: &World, endpoint: &EndpointId) -> usize {
    let has = |host: &usize| {
        let balancer = world.hosts[*host].balancer().and_then(|guest| guest.balancer.as_ref());
        balancer
            .is_some_and(|lb| lb.proxy.set.pools.values().flatten().any(|upstream| upstream.id == *endpoint))
    };
    (0..world.hosts.len()).filter(has).count()
}

/// How long it takes until `is_so`, which has to be soon.
fn until(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) -> Duration {
    let from = world.now;
    while !is_so(world) {
        assert!(world.now < from + CONVERGES, "{} hosts: {what}, within {CONVERGES:?}", world.hosts.len());
        world.run_for(LOOK);
    }
    world.now - from
}

/// A machine of the first host dies, and is built anew: the time until no balancer has it any more, and until all have its
/// successor.
fn a_machine_dies(world: &mut World) -> (Duration, Duration) {
    let (from, machine) = (world.now, "h00-stateless-7".into());
    let incarnation = world.hosts[0].guests[&machine].purpose.incarnation;
    let before = EndpointId::of(&machine, incarnation);
    assert_eq!(have(world, &before), world.hosts.len());
    world.end_machine(0, &machine, "it was killed");
    let gone_after = until(world, "the dead one is in no set any more", |world| have(world, &before) == 0);
    let is_back = |world: &World| {
        let guest =
            world.hosts[0].guests.get(&machine).filter(|guest| guest.purpose.incarnation != incarnation);
        let after = guest.map(|guest| EndpointId::of(&machine, guest.purpose.incarnation));
        after.is_some_and(|after| have(world, &after) == world.hosts.len())
    };
    until(world, "its successor is in every set", is_back);
    assert!(all_know(world));
    (gone_after, world.now - from)
}

/// The last host's manager ends: the time until all others count it as lost. Nobody's set loses anything by that.
fn a_manager_dies(world: &mut World) -> Duration {
    let last = world.hosts.len() - 1;
    let address = world.hosts[last].config.address;
    world.kill_manager(last);
    let lost = |world: &World| {
        world.hosts[..last]
            .iter()
            .filter_map(|host| host.manager.as_ref())
            .all(|manager| !manager.engine.counts_as_alive(world.now, address))
    };
    let after = until(world, "all know that a manager is lost", lost);
    world.run_for(CONVERGES);
    assert!(all_know(world), "a lost manager empties nobody's set");
    after
}

fn figures(count: usize, is_mesh: bool) -> Figures {
    let mut world = ready(count, is_mesh);
    let checks = world.checks_a_second();
    world.measure();
    world.run_for(IDLE);
    let idle = world.take_measured();
    let (gone_after, back_after) = a_machine_dies(&mut world);
    let change = world.take_measured();
    let lost_after = a_manager_dies(&mut world);
    Figures { hosts: count, checks, idle, gone_after, back_after, change, lost_after }
}

impl Figures {
    /// What a host says in a second while nothing happens.
    fn each_second(&self, said: Said) -> (f64, f64) {
        let sum = self.idle.get(&said).copied().unwrap_or_default();
        let all = self.hosts as f64 * IDLE.as_secs_f64();
        (sum.messages as f64 / all, sum.bytes as f64 / all)
    }

    /// What the change cost all hosts together, beyond what is said anyway.
    fn of_change(&self, said: Said) -> (f64, f64) {
        let sum = self.change.get(&said).copied().unwrap_or_default();
        let idle = self.idle.get(&said).copied().unwrap_or_default();
        let part = self.back_after.as_secs_f64() / IDLE.as_secs_f64();
        let beyond = |change: u64, idle: u64| (change as f64 - idle as f64 * part).max(0.0);
        (beyond(sum.messages, idle.messages), beyond(sum.bytes, idle.bytes))
    }
}

/// Two digits, as figures of costs are good for no more.
fn about(value: f64) -> String {
    let digits = if value < 9.95 { 1 } else { 0 };
    let magnitude = 10_f64.powi((value.max(1.0).log10().floor() as i32 - 1).max(-digits));
    let rounded = (value / magnitude).round() * magnitude;
    let text = format!("{rounded:.*}", digits as usize);
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() || rest.chars().all(|digit| digit == '0') {
        grouped
    } else {
        format!("{grouped}.{rest}")
    }
}

fn kilobytes(bytes: f64) -> String {
    format!("{} kB", about(bytes / 1_000.0))
}

/// One line: its name, and what it says of each cluster.
type Line = (&'static str, fn(&Figures) -> String);

fn table(all: &[Figures]) -> String {
    let lines: [Line; 14] = [
        ("machines of each host", |of| about((ENDPOINTS / of.hosts) as f64)),
        ("**of each host in a second, while nothing happens**", |_| String::new()),
        ("heartbeats heard", |of| about(of.each_second(Said::Heartbeat).0)),
        ("questions to the own balancer", |of| about(of.each_second(Said::ReadLb).0)),
        ("checks by its balancer, of machines that are each asked once a second", |of| {
            about(of.checks / of.hosts as f64)
        }),
        ("checks of each of its machines, by all balancers", |of| about(of.checks / ENDPOINTS as f64)),
        ("snapshots told to other managers", |of| {
            let (messages, bytes) = of.each_second(Said::Snapshot);
            format!("{}, {}", about(messages), kilobytes(bytes))
        }),
        ("gossip about who lives", |of| {
            let (messages, bytes) = of.each_second(Said::Gossip);
            if messages == 0.0 {
                "none".to_owned()
            } else {
                format!("{}, {}", about(messages), kilobytes(bytes))
            }
        }),
        ("**of all hosts, when one machine dies and is built anew**", |_| String::new()),
        // What of it is all of a host, which is told once a minute, does not come of the change: bytes would say little.
        ("snapshots told, beyond what is said anyway", |of| about(of.of_change(Said::Snapshot).0)),
        ("pushes to balancers", |of| {
            let (messages, bytes) = of.of_change(Said::Push);
            format!("{}, {}", about(messages), kilobytes(bytes))
        }),
        ("until no balancer has it", |of| format!("{} ms", of.gone_after.as_millis())),
        ("until every balancer has its successor", |of| format!("{} ms", of.back_after.as_millis())),
        ("until a dead manager is lost to all others", |of| format!("{:.1} s", of.lost_after.as_secs_f64())),
    ];
    let mut text = "| |".to_owned();
    all.iter().for_each(|of| write!(text, " {} hosts |", of.hosts).expect("a string"));
    text.push_str(&format!("\n|---|{}\n", "---:|".repeat(all.len())));
    for (name, line) in lines {
        let cells: Vec<String> = all.iter().map(line).collect();
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    text
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/growth.md")
}

#[test]
#[ignore = "takes long in a debug build: deploy/test.sh sim runs it"]
fn sixty_four_managers_with_ten_thousand_endpoints_converge_within_five_seconds_of_a_change() {
    let mut world = ready(64, false);
    let (gone_after, back_after) = a_machine_dies(&mut world);
    println!(
        "64 managers, {ENDPOINTS} endpoints: gone from all after {gone_after:?}, back after {back_after:?}"
    );
    assert!(back_after < CONVERGES);
}

#[test]
#[ignore = "takes long in a debug build: deploy/test.sh sim runs it"]
fn the_page_says_what_a_cluster_costs_as_it_grows() {
    let all = [2, 8, 64].map(|count| figures(count, false));
    let table = table(&all);
    println!("{table}");
    let text = std::fs::read_to_string(page()).expect("docs/growth.md");
    let (before, rest) = text.split_once(BEGIN).expect("the line before the table");
    let (written, after) = rest.split_once(END).expect("the line after the table");
    if std::env::var("GROWTH_TABLE").as_deref() == Ok("write") {
        std::fs::write(page(), format!("{before}{BEGIN}{table}{END}{after}")).expect("written");
        return;
    }
    assert!(written == table, "docs/growth.md is out of date (GROWTH_TABLE=write writes it anew):\n{table}");
}

/// Why there is gossip. A mesh costs the square of the number of hosts, here too: so 24, and not 64.
#[test]
#[ignore = "takes long in a debug build: deploy/test.sh sim runs it"]
fn a_circle_of_twenty_four_says_less_than_a_mesh() {
    let [circle, mesh] = [false, true].map(|is_mesh| figures(24, is_mesh));
    let all = |figures: &Figures| figures.each_second(Said::Snapshot).0 + figures.each_second(Said::Gossip).0;
    println!("each host in a second: {:.1} messages in a circle, {:.1} in a mesh", all(&circle), all(&mesh));
    assert!(4.0 * all(&circle) < all(&mesh), "{} and {}", all(&circle), all(&mesh));
    let messages = |figures: &Figures| figures.of_change(Said::Snapshot).0;
    println!(
        "for a change, all hosts: {:.0} messages in a circle, {:.0} in a mesh",
        messages(&circle),
        messages(&mesh)
    );
    assert!(4.0 * messages(&circle) < messages(&mesh), "{} and {}", messages(&circle), messages(&mesh));
}
