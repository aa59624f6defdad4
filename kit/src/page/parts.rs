//! Pieces that pages are put together from.

use maud::{Markup, html};

/// What a thing's state means to who looks at it. Never told by colour alone: the words beside it say it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Something is under way, or missing without harm.
    Warn,
    /// Something is down.
    Bad,
    /// Neither good nor bad.
    Plain,
}

impl Tone {
    /// The class of the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Good => "ok",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Plain => "acc",
        }
    }
}

/// A state in a word or two.
pub fn pill(tone: Tone, text: &str) -> Markup {
    html! { span class={ "pill " (tone.class()) } { (text) } }
}

/// The time of day of `unix_ms`, in UTC, to the second.
pub fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Since when something is so. The script shows how long that is, and keeps counting.
pub fn since(unix_ms: u64) -> Markup {
    // To the second: what is reckoned back from an age would differ a little each time.
    let at = (unix_ms + 500) / 1000 * 1000;
    html! { time data-since=(at) { "since " (clock(at)) } }
}

/// When something was. The script shows how long ago that is, and keeps counting.
pub fn ago(unix_ms: u64) -> Markup {
    let at = (unix_ms + 500) / 1000 * 1000;
    html! { time data-ago=(at) { "at " (clock(at)) } }
}

/// A time in milliseconds, with as many digits as help; a dash where there is none.
pub fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

/// The share of `requests` that did not fail; a dash where there were none. Cut, not rounded: one failure never
/// shows as none.
#[allow(clippy::cast_precision_loss)] // a share
pub fn availability(requests: u64, failed: u64) -> String {
    match requests {
        0 => "–".to_owned(),
        _ => format!("{:.4} %", ((1.0 - failed as f64 / requests as f64) * 1e6).floor() / 1e4),
    }
}

/// A small line of `values`, the oldest first, with `label` for those who cannot see it.
pub fn spark(values: &[f64], label: &str) -> Markup {
    const WIDTH: f64 = 200.0;
    const HEIGHT: f64 = 36.0;
    let most = values.iter().copied().fold(1.0, f64::max);
    let last = values.len().saturating_sub(1).max(1);
    let points = values.iter().enumerate().map(|(index, value)| {
        #[allow(clippy::cast_precision_loss)] // some hundred at most
        let x = WIDTH * index as f64 / last as f64;
        format!("{x:.1},{:.1}", HEIGHT - 2.0 - (HEIGHT - 4.0) * value / most)
    });
    let points = points.collect::<Vec<_>>().join(" ");
    html! {
        svg.spark viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
            polyline points=(points) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_in_its_frame() {
        assert!(spark(&[], "nothing").into_string().contains(r#"points="""#));
        let line = spark(&[0.0, 512.0, 256.0], "x").into_string();
        assert!(line.contains(r#"points="0.0,34.0 100.0,2.0 200.0,18.0""#), "{line}");
    }

    #[test]
    fn one_failure_among_many_is_not_rounded_away() {
        assert_eq!(availability(0, 0), "–");
        assert_eq!(availability(10, 0), "100.0000 %");
        assert_eq!(availability(100_000_000, 1), "99.9999 %");
    }

    #[test]
    fn times_are_to_the_second() {
        assert_eq!(clock(1_700_000_000_123), "22:13:20 UTC");
        assert_eq!(since(1_700_000_000_499).into_string(), since(1_699_999_999_500).into_string());
    }
}
