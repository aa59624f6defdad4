//! The hash that all balancers share: what one computes another must too, whatever its version, so it is
//! written down here instead of taken from the standard library, which promises no such thing.
//!
//! FNV-1a with 64 bits (Fowler, Noll, Vo), finished by MurmurHash3's `fmix64` (Appleby): FNV alone leaves
//! the high bits of short inputs nearly alike, and those are the ones that place a point on a ring.

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// The hash of `bytes`.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(FNV_OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)))
}

/// The hash of a hash and a number.
pub(crate) fn with(hash: u64, number: u64) -> u64 {
    mix(hash ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A hash as a number from 0 up to, but not, 1.
pub(crate) fn unit(hash: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // 53 bits are what an f64 holds
    let unit = (hash >> 11) as f64 / (1u64 << 53) as f64;
    unit
}

/// A hash as an index below `count`, without the bias and the cost of a division.
pub(crate) fn below(hash: u64, count: usize) -> usize {
    #[allow(clippy::cast_possible_truncation)] // less than `count`
    let index = ((u128::from(hash) * count as u128) >> 64) as usize;
    index
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_what_it_is() {
        // Another value would move every client when one of two balancers is upgraded.
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"a-stateless-1"), hash(b"a-stateless-1"));
        assert_ne!(hash(b"a-stateless-1"), hash(b"a-stateless-2"));
    }

    #[test]
    fn it_spreads_neighbours() {
        let mut buckets = [0u32; 16];
        for n in 0..16_000 {
            buckets[below(hash(format!("10.0.{}.{}", n / 250, n % 250).as_bytes()), 16)] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1_150).contains(count)), "{buckets:?}");
    }
}
