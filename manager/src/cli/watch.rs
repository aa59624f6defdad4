//! Shows something again and again, in place where that is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;

use super::client::Usage;
use super::print::line;

/// To the upper left, and everything from there is gone (ECMA-48, 8.3.21 and 8.3.39).
const HOME: &str = "\x1b[H\x1b[J";

/// Again and again, or once.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct WatchArgs {
    /// Show it again each so many seconds, until interrupted.
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds)]
    watch: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, Usage> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| Usage::new("expected 0.1 to 86400 seconds"))
}

impl WatchArgs {
    /// Each so many seconds, whatever was typed.
    pub(super) fn always(self, usual: Duration) -> Self {
        WatchArgs { watch: Some(self.watch.unwrap_or(usual)) }
    }

    /// Prints what `look` gives. While it is watched, a look that fails is shown and made again.
    pub(super) fn show(self, mut look: impl FnMut() -> Result<String>) -> Result<()> {
        let Some(pause) = self.watch else { return line(&look()?) };
        let in_place = std::io::stdout().is_terminal();
        loop {
            let text = look().unwrap_or_else(|error| format!("{error:#}"));
            line(&if in_place { format!("{HOME}{text}") } else { text })?;
            std::thread::sleep(pause);
        }
    }
}
