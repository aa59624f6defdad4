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
    /// It has the generation of the one that is held and says something else: the sender has not heard of a
    /// document of an earlier life of its own, which was still on its way when that ended. To be refused
    /// like an older one, so that the sender goes on above it; were it taken for the same, the sender would
    /// believe for ever that its own is in use.
    Other {
        /// The generation that is held.
        held: Generation,
    },
}

/// Judges the document `offered` by a receiver that holds `held`, or nothing; each with its generation.
#[must_use]
pub fn judge<T: PartialEq>(held: Option<(Generation, &T)>, offered: (Generation, &T)) -> Offered {
    match held {
        Some((held, _)) if offered.0 < held => Offered::Older { held },
        Some((held, content)) if offered.0 == held && content != offered.1 => Offered::Other { held },
        Some((held, _)) if offered.0 == held => Offered::Same,
        Some(_) | None => Offered::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_newer_is_taken() {
        assert_eq!(judge(None, (0, &"x")), Offered::Newer);
        assert_eq!(judge(Some((7, &"x")), (8, &"x")), Offered::Newer);
        assert_eq!(judge(Some((7, &"x")), (7, &"x")), Offered::Same);
        assert_eq!(judge(Some((7, &"x")), (6, &"y")), Offered::Older { held: 7 });
    }

    #[test]
    fn two_documents_of_one_generation_are_told_apart() {
        assert_eq!(judge(Some((7, &"x")), (7, &"y")), Offered::Other { held: 7 });
    }
}
