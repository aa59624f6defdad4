//! The pause before a program that keeps ending is started again. The supervisor starts it at once, for
//! ever; one that cannot start must not take the whole processor with that.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The pause after a program ended soon; doubled each time …
const FIRST: Duration = Duration::from_millis(50);

/// … up to this.
const LONGEST: Duration = Duration::from_secs(2);

/// A program that ran for so long did not end soon.
const SETTLED: Duration = Duration::from_secs(5);

/// Notes in `file` that the program is started at `now`, a time since the machine started, and says how
/// long to wait before that. A file that cannot be read or written counts as a first start.
pub fn before_start(file: &Path, now: Duration) -> Duration {
    let earlier = fs::read_to_string(file).ok().and_then(|text| parse(&text));
    let pause = match earlier {
        Some((at, pause)) if now.saturating_sub(at) < SETTLED + pause => (pause * 2).clamp(FIRST, LONGEST),
        _ => Duration::ZERO,
    };
    // Without the note the next start comes at once, which is no worse than now.
    let _ = fs::write(file, format!("{} {}", now.as_millis(), pause.as_millis()));
    pause
}

/// When it was started, and after which pause.
fn parse(text: &str) -> Option<(Duration, Duration)> {
    let (at, pause) = text.split_once(' ')?;
    Some((Duration::from_millis(at.parse().ok()?), Duration::from_millis(pause.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_it_keeps_ending_and_are_forgotten_when_it_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("starts");
        let mut now = Duration::from_secs(3);
        let pauses: Vec<u128> = (0..9)
            .map(|_| {
                let pause = before_start(&file, now);
                now += pause + Duration::from_millis(10);
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1600, 2000, 2000]);
        now += SETTLED + LONGEST;
        assert_eq!(before_start(&file, now), Duration::ZERO);
        fs::write(&file, "nonsense").expect("written");
        assert_eq!(before_start(&file, now), Duration::ZERO);
    }
}
