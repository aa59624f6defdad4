//! Draws by weight in constant time: Walker's alias method as Vose builds it (IEEE Trans. Software Eng.
//! 17(9), 1991).

/// A table to draw indices from.
#[derive(Debug)]
pub(crate) struct Alias {
    /// For each column, below what a coin of 32 bits shows the column itself …
    own: Box<[u32]>,
    /// … and which index it shows otherwise.
    other: Box<[u32]>,
}

impl Alias {
    /// The table for `weights`; none where they are all alike and no table is needed.
    pub(crate) fn new(weights: &[u32]) -> Option<Self> {
        let first = *weights.first()?;
        if weights.iter().all(|&weight| weight == first) {
            return None;
        }
        let count = weights.len();
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        #[allow(clippy::cast_precision_loss)] // counts of upstreams are small
        let mut scaled: Vec<f64> =
            weights.iter().map(|&weight| f64::from(weight) * count as f64 / sum).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..count).partition(|&index| scaled[index] < 1.0);
        let mut own = vec![u32::MAX; count].into_boxed_slice();
        let mut other: Box<[u32]> = (0..).take(count).collect();
        while let (Some(&less), Some(&more)) = (small.last(), large.last()) {
            small.pop();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1 times u32::MAX
            let coin = (scaled[less] * f64::from(u32::MAX)) as u32;
            own[less] = coin;
            other[less] = u32::try_from(more).unwrap_or(u32::MAX);
            scaled[more] -= 1.0 - scaled[less];
            if scaled[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        // What is left, by rounding, has a whole column.
        Some(Alias { own, other })
    }

    /// The index that `random` shows.
    pub(crate) fn draw(&self, random: u64) -> usize {
        let column = super::hash::below(random, self.own.len());
        #[allow(clippy::cast_possible_truncation)] // the low half is the coin
        let coin = random as u32;
        if coin <= self.own[column] { column } else { self.other[column] as usize }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn draws_follow_the_weights(weights in prop::collection::vec(1u32..50, 2..20)) {
            let Some(alias) = Alias::new(&weights) else { return Ok(()) };
            const DRAWS: u64 = 40_000;
            let mut counts = vec![0u32; weights.len()];
            for n in 0..DRAWS {
                counts[alias.draw(super::super::hash::with(7, n))] += 1;
            }
            let sum: u32 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(&counts) {
                let expected = DRAWS as f64 * f64::from(*weight) / f64::from(sum);
                let bound = 6.0 * expected.sqrt() + 6.0;
                prop_assert!((f64::from(*count) - expected).abs() < bound, "{weights:?} {counts:?}");
            }
        }
    }
}
