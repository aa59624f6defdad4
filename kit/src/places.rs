//! So many at a time, and not all of them for one neighbour.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Half of an IPv6 address is the network; the other half costs its owner nothing.
const NETWORK_OF_IPV6: u32 = 64;

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) all: usize,
    /// For one IPv4 address, or one IPv6 network of /64.
    pub(crate) each: usize,
}

/// Places, taken and free.
pub(crate) struct Places {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only those that have one: no more entries than places.
    each: HashMap<IpAddr, usize>,
}

/// A place; free again when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    whose: Option<IpAddr>,
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Places { limits, taken: Mutex::default() })
    }

    /// A place for who comes from this address, if it has one.
    ///
    /// # Errors
    ///
    /// Says of what there are too many.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, String> {
        let whose = address.map(neighbour);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Limits { all, each } = self.limits;
        if let Some(whose) = whose
            && taken.each.get(&whose).is_some_and(|own| *own >= each)
        {
            return Err(format!("{each} connections from {whose} at a time, and no more"));
        }
        if taken.all >= all {
            return Err(format!("{all} connections at a time, and no more"));
        }
        taken.all += 1;
        if let Some(whose) = whose {
            *taken.each.entry(whose).or_default() += 1;
        }
        Ok(Place { places: Arc::clone(self), whose })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(whose) = self.whose
            && let Some(own) = taken.each.get_mut(&whose)
        {
            *own -= 1;
            if *own == 0 {
                taken.each.remove(&whose);
            }
        }
    }
}

fn neighbour(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> NETWORK_OF_IPV6 << NETWORK_OF_IPV6;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_neighbour_cannot_have_all_places_and_all_come_back() {
        let places = Places::new(Limits { all: 3, each: 2 });
        let at = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        let held = [places.take(at("192.168.10.1")), places.take(at("::ffff:192.168.10.1"))];
        assert!(held.iter().all(Result::is_ok));
        let refused = places.take(at("192.168.10.1")).err().expect("its share is used up");
        assert!(refused.contains("192.168.10.1"), "{refused}");
        let other = places.take(at("fd00::1"));
        assert!(other.is_ok(), "others have their share");
        for nobody in [at("fd01::1"), None] {
            assert!(places.take(nobody).err().expect("all are taken").starts_with("3 connections at"));
        }
        drop((held, other));
        let held = [places.take(at("fd00::1")), places.take(at("fd00::2")), places.take(None)];
        assert!(held.iter().all(Result::is_ok));
        drop(held);
        assert_eq!(places.taken.lock().expect("not poisoned").each.len(), 0, "nobody is remembered");
    }
}
