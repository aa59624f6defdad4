//! Terms, step by step: who stays keeps the next one from beginning.

use wire::checks::Check;
use wire::proxy_config::PoolPolicy;
use wire::upstreams::{Upstream as Described, UpstreamState};

use super::super::super::check::{Fault, Outcome};
use super::super::Stay;
use super::*;

const WELL: Outcome = Ok(Role::Writer);
const ILL: Outcome = Err(Fault::Timeout);

/// A pool of three, seen at a clock of its own.
struct Stage {
    pool: Pool,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        let policy = PoolPolicy {
            primary_only: true,
            check: Check { active: true, fall: 2, ..Check::default() },
            ..PoolPolicy::default()
        };
        let members = ["db-1", "db-2", "db-3"].map(member);
        Stage { pool: Pool::new("db".into(), policy, None, members.into()), now: Instant::now() }
    }

    fn checked(&self, id: &str, outcome: Outcome) {
        let member = self.pool.members().iter().find(|member| member.upstream.id.as_str() == id);
        member.expect("one of them").upstream.health.checks.note(outcome, self.now, self.now);
    }

    fn all_well(&self) {
        ["db-1", "db-2", "db-3"].into_iter().for_each(|id| self.checked(id, WELL));
    }

    fn step(&self, named: Option<&str>, decides: bool) -> Option<Instant> {
        step(&self.pool, named.map(EndpointId::from).as_ref(), decides, self.now).due
    }

    /// Who is the primary after a look of one that decides.
    fn decided(&self) -> Option<String> {
        self.step(None, true);
        self.present()
    }

    fn present(&self) -> Option<String> {
        let (upstream, _) = self.pool.lasting.primary.look().present?;
        Some(upstream.id.to_string())
    }

    fn enter(&self) -> Option<Stay> {
        self.pool.lasting.primary.enter()
    }
}

fn member(id: &str) -> Member {
    let described = Described {
        id: id.into(),
        address: [127, 0, 0, 1].into(),
        port: 1,
        weight: 1,
        zone: "".into(),
        backup: false,
        state: UpstreamState::Ready,
        checked_elsewhere: false,
    };
    let upstream = Upstream::new(described.id.clone(), described.socket(), 1);
    Member::in_zone(Arc::new(upstream), &described, Arc::new("".into()))
}

#[tokio::test]
async fn a_term_begins_when_nobody_stays_in_the_one_before() {
    let stage = Stage::new();
    assert_eq!(stage.decided(), None, "nothing is known yet");
    assert!(stage.enter().is_none());
    stage.all_well();
    assert_eq!(stage.decided().as_deref(), Some("db-1"));
    let (one, other) = (stage.enter().expect("a primary"), stage.enter().expect("a primary"));
    stage.checked("db-1", ILL);
    assert_eq!(stage.decided().as_deref(), Some("db-1"), "once is no time");
    stage.checked("db-1", ILL);
    assert_eq!(stage.decided(), None);
    one.over().await;
    other.over().await;
    assert!(stage.enter().is_none(), "connections to the one before are open");
    drop(one);
    assert_eq!(stage.decided(), None);
    assert_eq!(stage.pool.lasting.primary.look().reason, "connections to the one before are being closed");
    drop(other);
    assert_eq!(stage.decided().as_deref(), Some("db-2"));
    assert_eq!(stage.enter().expect("a primary").upstream().id.as_str(), "db-2");
    // The first one is back: nobody is disturbed.
    stage.checked("db-1", WELL);
    assert_eq!(stage.decided().as_deref(), Some("db-2"));
    assert_eq!(stage.pool.lasting.primary.look().terms, 2);
}

#[tokio::test]
async fn who_waits_gets_the_next_one() {
    let stage = Stage::new();
    let waiting = stage.pool.lasting.primary.entered();
    let begins = async {
        tokio::task::yield_now().await;
        stage.all_well();
        stage.decided()
    };
    let (stay, present) = tokio::join!(waiting, begins);
    assert_eq!(Some(stay.upstream().id.to_string()), present);
}

#[tokio::test]
async fn one_that_takes_no_writes_any_more_is_none() {
    let stage = Stage::new();
    stage.all_well();
    assert_eq!(stage.decided().as_deref(), Some("db-1"));
    stage.checked("db-1", Ok(Role::Standby));
    assert_eq!(stage.decided().as_deref(), Some("db-2"));
    for id in ["db-2", "db-3"] {
        stage.checked(id, Ok(Role::Standby));
    }
    assert_eq!(stage.decided(), None);
    assert_eq!(stage.pool.lasting.primary.look().reason, "those that are well take no writes");
}

#[tokio::test]
async fn who_does_not_decide_follows_and_loses_patience() {
    let mut stage = Stage::new();
    stage.all_well();
    stage.step(Some("db-3"), false);
    assert_eq!(stage.present().as_deref(), Some("db-3"));
    // What it sees itself does not count for a while.
    stage.checked("db-3", ILL);
    stage.checked("db-3", ILL);
    let again = stage.step(Some("db-3"), false).expect("it looks again");
    assert_eq!(stage.present().as_deref(), Some("db-3"));
    assert_eq!(again, stage.now + PATIENCE);
    stage.now = again;
    assert_eq!(stage.step(Some("db-3"), false), None);
    assert_eq!(stage.present().as_deref(), Some("db-1"));
    // Another is named, and it begins to follow again.
    stage.step(Some("db-2"), false);
    assert_eq!(stage.present().as_deref(), Some("db-2"));
    // It decides now, and keeps the one there is.
    stage.step(Some("db-1"), true);
    assert_eq!(stage.present().as_deref(), Some("db-2"));
}
