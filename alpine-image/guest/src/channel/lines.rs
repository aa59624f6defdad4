//! Cuts what arrives into lines, however it arrives and however long they are.

use crate::seed_disk::LARGEST_FILE;

/// A longer line is not kept. A machine's seed has room in one.
pub const LONGEST_LINE: usize = LARGEST_FILE;

/// One line of the host, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// Longer than [`LONGEST_LINE`]; what it said is gone.
    TooLong,
}

/// The line that has begun.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Takes the next bytes and gives the lines that they end.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            if self.too_long || self.begun.len() + text.len() > LONGEST_LINE {
                self.begun = Vec::new();
                self.too_long = true;
            } else {
                self.begun.extend_from_slice(text);
            }
            if ends {
                let begun = std::mem::take(&mut self.begun);
                lines.push(if std::mem::take(&mut self.too_long) {
                    Line::TooLong
                } else {
                    Line::Whole(begun)
                });
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Line {
        Line::Whole(text.into())
    }

    #[test]
    fn lines_end_where_they_end_not_where_reads_do() {
        let text = b"one\n\ntwo\nthree";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let found: Vec<_> = text.chunks(size).flat_map(|chunk| lines.feed(chunk)).collect();
            assert_eq!(found, [whole("one"), whole(""), whole("two")], "{size} at a time");
            assert_eq!(lines.feed(b"\n"), [whole("three")]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_one_line_and_costs_no_memory() {
        let mut lines = Lines::default();
        assert_eq!(lines.feed(&vec![b'x'; LONGEST_LINE]), []);
        assert_eq!(lines.feed(b"\n"), [Line::Whole(vec![b'x'; LONGEST_LINE])]);
        for _ in 0..2 * LONGEST_LINE / 65_536 {
            assert_eq!(lines.feed(&[b'x'; 65_536]), []);
            assert!(lines.begun.len() <= LONGEST_LINE);
        }
        assert_eq!(lines.feed(b"x\nnext\n"), [Line::TooLong, whole("next")]);
    }
}
