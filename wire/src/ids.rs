//! Names and numbers by which the parts speak of the same thing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, JsonSchema)]
        #[serde(transparent)]
        pub struct $type(pub String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                $type(text.to_owned())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                $type(text)
            }
        }
    };
}

name! {
    /// The name of a host, as its manager's configuration gives it. Unique in the cluster.
    HostName
}
name! {
    /// The name of a machine, such as `a-stateless-1`. It stays the same when the machine is rebuilt;
    /// what changes then is the [`Incarnation`].
    MachineId
}
name! {
    /// The name of a pool of upstreams; a service's machines form the pool of the service's name.
    PoolName
}
name! {
    /// One incarnation of one machine, such as `a-stateless-1.7`: what a balancer keys its knowledge
    /// of an upstream by, so that a rebuilt machine starts with a clean record.
    EndpointId
}

impl EndpointId {
    /// The id of `machine` in its `incarnation`.
    pub fn of(machine: &MachineId, incarnation: Incarnation) -> Self {
        EndpointId(format!("{machine}.{incarnation}"))
    }

    /// The name of its machine: the id without the incarnation, or all of it where there is none.
    pub fn machine(&self) -> &str {
        match self.0.rsplit_once('.') {
            Some((machine, number))
                if !machine.is_empty()
                    && !number.is_empty()
                    && number.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                machine
            }
            _ => &self.0,
        }
    }
}

/// Counts the machines a host ever built. Given to each new machine, never used twice by a host.
pub type Incarnation = u64;

/// Orders the documents one sender pushes to one receiver. A receiver refuses a lower one than it
/// holds and treats an equal one as already known.
pub type Generation = u64;

/// The highest epoch, version or generation that anybody takes: the next one can always be said, and every
/// reader of JSON can tell it from its neighbours (2^53).
pub const MAX_COUNT: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_knows_its_machine() {
        let machine = MachineId::from("a-stateless-1");
        assert_eq!(EndpointId::of(&machine, 7).machine(), "a-stateless-1");
        for without in ["b-8080", "x.", ".7", "host.local", ""] {
            assert_eq!(EndpointId::from(without).machine(), without);
        }
    }
}
