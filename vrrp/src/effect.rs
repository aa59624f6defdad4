//! What a router tells its caller: what to do, what happened, and when to come back.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// The states of a virtual router (RFC 9568, section 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes no part: what would answer at the address is not there.
    Init,
    /// Listens to the holder.
    Backup,
    /// Holds the address. RFC 9568 calls it Active, RFC 5798 Master.
    Master,
}

/// One thing to do. The order matters: each is to be done before the next is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send an advert with this priority and interval.
    SendAdvert {
        /// The priority to say; 0 lets go.
        priority: u8,
        /// The interval to say.
        interval: Duration,
    },
    /// Tell this router alone, by an advert of priority [`OFFER`](crate::fitness::OFFER), that it is to take the address.
    Offer {
        /// The address it speaks from.
        to: IpAddr,
        /// The interval to say.
        interval: Duration,
    },
    /// Put the address on the interface.
    AddAddress,
    /// Extend the lifetime of the address, or add it where it is missing.
    RenewAddress,
    /// Take the address off the interface. It may be gone already.
    RemoveAddress,
    /// Tell the segment with gratuitous ARP, or unsolicited neighbour advertisements, where the address
    /// is now.
    Announce,
    /// Nothing to do: the state changed, for the log and for whoever wants to know.
    Changed(Transition),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// What brought it about.
    pub reason: Reason,
}

/// Why a router is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was just made.
    New,
    /// The proxy is there.
    Ready,
    /// The proxy is gone, or the speaker ends.
    Stopped,
    /// No holder was heard for the Down interval.
    Silence,
    /// The holder said that it let go.
    Released(IpAddr),
    /// The holder says that it is unfit.
    UnfitHolder(IpAddr),
    /// The holder offered the address to this one.
    Offered(IpAddr),
    /// It was ordered to take over.
    Ordered,
    /// Another holder has the higher priority, or an equal one and the higher address.
    Outranked(IpAddr),
    /// It is configured to preempt, and the holder has the lower priority.
    Preempted(IpAddr),
    /// A holder of lower priority goes on as if nothing had been said to it: it does not hear this one.
    Unheard(IpAddr),
    /// It was asleep for longer than the others wait for it.
    WokeLate(Duration),
    /// The host's clock went on by so much while this machine's stood still.
    Paused(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::New => f.write_str("just started"),
            Reason::Ready => f.write_str("the proxy is there"),
            Reason::Stopped => f.write_str("the proxy is gone or the speaker ends"),
            Reason::Silence => f.write_str("no holder heard"),
            Reason::Released(holder) => write!(f, "{holder} let go"),
            Reason::UnfitHolder(holder) => write!(f, "{holder} is unfit"),
            Reason::Offered(holder) => write!(f, "{holder} offered it to this one"),
            Reason::Ordered => f.write_str("ordered to take over"),
            Reason::Outranked(holder) => write!(f, "{holder} outranks this one"),
            Reason::Preempted(holder) => write!(f, "{holder} has the lower priority"),
            Reason::Unheard(holder) => write!(f, "{holder} holds on and does not hear this one"),
            Reason::Paused(time) => write!(f, "the machine was paused for {} ms", time.as_millis()),
            Reason::WokeLate(late) => write!(f, "was asleep for {} ms", late.as_millis()),
        }
    }
}

/// Why a router wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// The holder has been silent for too long (`Active_Down_Timer`).
    Down,
    /// The next advert is due (`Adver_Timer`).
    Advert,
    /// The address's lifetime is to be extended.
    Renew,
    /// The address is to be announced again.
    Announce,
    /// Nobody took the address that was offered.
    OfferEnds,
    /// The priority raised for a take-over falls back.
    RaiseEnds,
}
