//! The grammar of `--fault`.
//!
//! ```text
//! SPEC    = WHAT " @" TIME | WHAT " @+" TIME
//! WHAT    = KIND " " TARGET | "exec:" COMMAND
//! KIND    = "kill" | "freeze" | "thaw" | "stop-process"
//! TARGET  = a machine's name, or a service's (its first ready machine)
//! TIME    = such as 5s or 1500ms; with "+" after the fault before has recovered, else from the start
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use wire::cluster::FaultKind;

/// What to break and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// What.
    pub what: What,
    /// When.
    pub when: When,
}

/// What to break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A machine, by its manager.
    Order {
        /// What is done to it.
        kind: FaultKind,
        /// The machine or the service.
        target: String,
    },
    /// Whatever a shell command breaks.
    Command(String),
}

/// When to break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after the run's start, but not before the fault before has recovered.
    FromStart(Duration),
    /// So long after the fault before has recovered.
    AfterRecovery(Duration),
}

const EXPECTED: &str = "expected \"kill|freeze|thaw|stop-process TARGET @TIME\" or \"exec:COMMAND @TIME\", \
    TIME such as 5s or, after the fault before has recovered, +5s";

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, when) = text.rsplit_once('@').ok_or_else(|| format!("no @TIME; {EXPECTED}"))?;
        let duration = |text: &str| {
            humantime::parse_duration(text).map_err(|_| format!("`{text}` is no time; {EXPECTED}"))
        };
        let when = match when.trim().strip_prefix('+') {
            Some(after) => When::AfterRecovery(duration(after)?),
            None => When::FromStart(duration(when.trim())?),
        };
        let what = what.trim();
        if let Some(command) = what.strip_prefix("exec:") {
            let command = command.trim().to_owned();
            if command.is_empty() {
                return Err(format!("no command; {EXPECTED}"));
            }
            return Ok(FaultSpec { what: What::Command(command), when });
        }
        match what.split_whitespace().collect::<Vec<_>>()[..] {
            [kind, target] => {
                let kind = kind_of(kind).ok_or_else(|| format!("`{kind}` is no fault; {EXPECTED}"))?;
                Ok(FaultSpec { what: What::Order { kind, target: target.to_owned() }, when })
            }
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

fn kind_of(text: &str) -> Option<FaultKind> {
    [FaultKind::Kill, FaultKind::Freeze, FaultKind::Thaw, FaultKind::StopProcess]
        .into_iter()
        .find(|kind| name_of(*kind) == text)
}

fn name_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Kill => "kill",
        FaultKind::Freeze => "freeze",
        FaultKind::Thaw => "thaw",
        FaultKind::StopProcess => "stop-process",
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Order { kind, target } => write!(f, "{} {target}", name_of(*kind)),
            What::Command(command) => write!(f, "exec:{command}"),
        }
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FaultSpec { what, when } = self;
        match when {
            When::FromStart(after) => write!(f, "{what} @{}", humantime::format_duration(*after)),
            When::AfterRecovery(after) => write!(f, "{what} @+{}", humantime::format_duration(*after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for text in ["kill stateless @5s", "stop-process a-lb @+1s 500ms", "exec:ssh root@a reboot @5s"] {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
        }
        let spec: FaultSpec = "exec:ssh root@a reboot @+250ms".parse().unwrap();
        assert_eq!(spec.what, What::Command("ssh root@a reboot".to_owned()));
        assert_eq!(spec.when, When::AfterRecovery(Duration::from_millis(250)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_expected() {
        for (text, reason) in [
            ("kill stateless", "no @TIME"),
            ("kill stateless @soon", "`soon` is no time"),
            ("kill stateless @5", "`5` is no time"),
            ("maim stateless @5s", "`maim` is no fault"),
            ("kill @5s", "expected"),
            ("exec: @5s", "no command"),
        ] {
            let error = text.parse::<FaultSpec>().unwrap_err();
            assert!(error.contains(reason) && error.contains("expected \"kill|freeze"), "{text}: {error}");
        }
    }
}
