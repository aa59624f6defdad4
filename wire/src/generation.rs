//! The one rule by which a receiver of numbered documents decides what to do with one more of them.

use crate::Generation;

/// How an offered document stands to the one that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is to be taken.
    Newer,
    /// It is held already: nothing changes, and the sender is told that all is well.
    Same,
    /// It is to be refused; the sender is told which generation is held.
    Older {
        /// The generation that is held.
        held: Generation,
    },
}

/// Judges a document of generation `offered` by a receiver that holds `held`, or nothing.
#[must_use]
pub fn judge(held: Option<Generation>, offered: Generation) -> Offered {
    match held {
        Some(held) if offered < held => Offered::Older { held },
        Some(held) if offered == held => Offered::Same,
        Some(_) | None => Offered::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_newer_is_taken() {
        assert_eq!(judge(None, 0), Offered::Newer);
        assert_eq!(judge(Some(7), 8), Offered::Newer);
        assert_eq!(judge(Some(7), 7), Offered::Same);
        assert_eq!(judge(Some(7), 6), Offered::Older { held: 7 });
    }
}
