//! How a connection ended: said in the log, counted by service.

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both sides had ended what they had to say.
    Closed,
    /// The client reset it, or vanished.
    ClientReset,
    /// The upstream reset it.
    UpstreamReset,
    /// The upstream vanished: nothing was confirmed for too long.
    UpstreamLost,
    /// Neither side said anything for too long.
    Idle,
    /// One side had ended, and the other said nothing for too long.
    HalfClosed,
    /// The upstream had left its set, and its time to drain was over.
    Drained,
    /// The upstream had left its set without having drained: it is dead.
    Gone,
    /// Another upstream is the primary of its pool.
    Replaced,
    /// The service was taken away, and the time to drain was over.
    Removed,
    /// Its address moved to another balancer.
    Moved,
    /// The balancer stopped.
    Stopped,
    /// No upstream took it, though one may be there.
    Unreachable,
    /// There was no upstream, and none came in time.
    NoUpstream,
    /// All upstreams had their fill, and none had room in time.
    Busy,
    /// The service had its fill.
    Full,
    /// The client left before there was an upstream.
    ClientLeft,
    /// Who sent it may not say who its clients are (PROXY protocol).
    Untrusted,
    /// It did not begin with a header of the PROXY protocol.
    NoHeader,
    /// What it should begin with was not all there in time.
    Late,
    /// No service of the port is for the name it asked for, or for what asks for none.
    NoService,
}

impl Ended {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Ended; 21] = [
        Ended::Closed,
        Ended::ClientReset,
        Ended::UpstreamReset,
        Ended::UpstreamLost,
        Ended::Idle,
        Ended::HalfClosed,
        Ended::Drained,
        Ended::Gone,
        Ended::Replaced,
        Ended::Removed,
        Ended::Moved,
        Ended::Stopped,
        Ended::Unreachable,
        Ended::NoUpstream,
        Ended::Busy,
        Ended::Full,
        Ended::ClientLeft,
        Ended::Untrusted,
        Ended::NoHeader,
        Ended::Late,
        Ended::NoService,
    ];

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ended::Closed => "closed",
            Ended::ClientReset => "client_reset",
            Ended::UpstreamReset => "upstream_reset",
            Ended::UpstreamLost => "upstream_lost",
            Ended::Idle => "idle",
            Ended::HalfClosed => "half_closed",
            Ended::Drained => "drained",
            Ended::Gone => "upstream_gone",
            Ended::Replaced => "upstream_replaced",
            Ended::Removed => "service_removed",
            Ended::Moved => "address_moved",
            Ended::Stopped => "stopped",
            Ended::Unreachable => "unreachable",
            Ended::NoUpstream => "no_upstream",
            Ended::Busy => "no_room",
            Ended::Full => "service_full",
            Ended::ClientLeft => "client_left",
            Ended::Untrusted => "untrusted",
            Ended::NoHeader => "no_proxy_header",
            Ended::Late => "late",
            Ended::NoService => "no_service",
        }
    }

    /// Whether a client lost something that it should have had.
    pub(crate) fn is_error(self) -> bool {
        match self {
            Ended::Closed | Ended::ClientReset | Ended::ClientLeft | Ended::Idle | Ended::HalfClosed => false,
            Ended::UpstreamReset
            | Ended::UpstreamLost
            | Ended::Drained
            | Ended::Gone
            | Ended::Replaced
            | Ended::Removed
            | Ended::Moved
            | Ended::Stopped
            | Ended::Unreachable
            | Ended::NoUpstream
            | Ended::Busy
            | Ended::Full
            | Ended::Untrusted
            | Ended::NoHeader
            | Ended::Late
            | Ended::NoService => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Ended::ALL.iter().map(|ended| ended.name()).collect();
        assert_eq!(names.len(), Ended::ALL.len());
        for (at, ended) in Ended::ALL.iter().enumerate() {
            assert_eq!(*ended as usize, at);
        }
    }
}
