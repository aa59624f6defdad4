//! Mistakes that are made on purpose, so that the checkers can be seen to bite.
//!
//! Where the promise is kept by the engine, the mistake is in the engine's own code, behind `cfg(test)`.
//! The rules of VRRP and of generations are in other crates, whose code is compiled for the manager without
//! `cfg(test)`: there the mistake is in the driver, at the place where it asks them.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A machine that could not be fenced counts as fenced (engine).
    UnconfirmedFenceCounts,
    /// A replacement gets the next free address (engine).
    ReplacementMoves,
    /// A speaker that is outranked keeps the address on its interface (driver).
    OutrankedKeepsAddress,
    /// A speaker takes no part again once its proxy was gone (driver).
    NeverReadyAgain,
    /// When a peer falls silent, a machine of the own host is blamed for it (engine).
    LostPeerKills,
    /// When a peer falls silent, its endpoints are dropped (engine).
    LostPeerIsDropped,
    /// A balancer takes whatever it is given (driver).
    AnyGenerationIsTaken,
    /// A crash-looping machine is rebuilt without a pause (engine).
    NoPauses,
    /// What could not be fenced is not tried again (engine).
    FencedOnlyOnce,
    /// A speaker that wakes takes the time from before its sleep (driver).
    WakesWithOldClock,
    /// What was said once is remembered for ever (engine).
    TroublesPileUp,
    /// A host with more than its share gives it up before others are ready (engine).
    GivesBackTooSoon,
    /// All hosts with more than their share give it up at the same time (engine).
    GivesBackOutOfTurn,
    /// What a lost host had is taken over by nobody (engine).
    NobodyTakesOver,
    /// A primary fails, and its standby stays where it is (engine).
    StandbysAreNotStarted,
    /// All primaries are back, and their standby runs on (engine).
    StandbysAreNotStopped,
    /// VIPs are left where an election put them (engine).
    NothingIsEvened,
}
