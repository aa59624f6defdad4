//! The grammar of `--fault`.
//!
//! ```text
//! SPEC    = WHAT " @" TIME | WHAT " @+" TIME | WHAT " @every " TIME | WHAT " @random " TIME
//! WHAT    = KIND " " TARGET | "freeze " TARGET " for " TIME | "exec:" COMMAND [" undo:" COMMAND [" for " TIME]]
//! KIND    = "kill" (or "destroy") | "freeze" | "thaw" | "stop-process" | "replace"
//! TARGET  = a machine's name, or a service's (its first ready machine)
//! TIME    = such as 5s or 1500ms; with "+" after the fault before has recovered, with "every" again and again,
//!           with "random" at times drawn by the seed, so far apart on average; else from the start
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
    /// After how long it is undone; at the run's end at the latest, where it can be.
    pub lasts: Option<Duration>,
}

/// What to break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A machine, by its manager.
    Order {
        /// What is done to it.
        order: Order,
        /// The machine or the service.
        target: String,
    },
    /// Whatever a shell command breaks.
    Command {
        /// The command.
        command: String,
        /// The command that undoes it.
        undo: Option<String>,
    },
}

/// What a manager is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Harm.
    Harm(FaultKind),
    /// An orderly replacement by a machine at the same address.
    Replace,
}

/// When to break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after the run's start, but not before the fault before has recovered.
    FromStart(Duration),
    /// So long after the fault before has recovered.
    AfterRecovery(Duration),
    /// Again and again, so far apart.
    Every(Duration),
    /// Again and again at random, so far apart on average.
    Random(Duration),
}

const EXPECTED: &str = "expected \"kill|freeze|thaw|stop-process|replace TARGET @TIME\" or \"exec:COMMAND @TIME\", \
    TIME such as 5s or, after the fault before has recovered, +5s, or, again and again, every 20s or random 20s";

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, when) = text.rsplit_once('@').ok_or_else(|| format!("no @TIME; {EXPECTED}"))?;
        let when = when.trim();
        let word = |word: &str| when.strip_prefix(word).filter(|rest| rest.starts_with(' '));
        let when = if let Some(after) = when.strip_prefix('+') {
            When::AfterRecovery(duration(after)?)
        } else if let Some(apart) = word("every") {
            When::Every(apart_by(apart)?)
        } else if let Some(apart) = word("random") {
            When::Random(apart_by(apart)?)
        } else {
            When::FromStart(duration(when)?)
        };
        let what = what.trim();
        if let Some(command) = what.strip_prefix("exec:") {
            return command_of(command, when);
        }
        let (order, target, lasts) = match what.split_whitespace().collect::<Vec<_>>()[..] {
            [kind, target] => (order_of(kind)?, target, None),
            ["freeze", target, "for", time] => {
                (Order::Harm(FaultKind::Freeze), target, Some(apart_by(time)?))
            }
            [_, _, "for", _] => {
                return Err(format!("only a freeze and a command with undo: end by themselves; {EXPECTED}"));
            }
            _ => return Err(EXPECTED.to_owned()),
        };
        Ok(FaultSpec { what: What::Order { order, target: target.to_owned() }, when, lasts })
    }
}

fn command_of(text: &str, when: When) -> Result<FaultSpec, String> {
    let (command, undo) = match text.split_once(" undo:") {
        None => (text, None),
        Some((command, undo)) => (command, Some(undo)),
    };
    // Words of a command may be `for` too; only a time behind the last of them is meant.
    let ends = undo.and_then(|undo| undo.rsplit_once(" for "));
    let ends =
        ends.and_then(|(undo, time)| Some((undo, duration(time).ok().filter(|time| !time.is_zero())?)));
    let (undo, lasts) = match ends {
        Some((undo, lasts)) => (Some(undo), Some(lasts)),
        None => (undo, None),
    };
    let command = command.trim().to_owned();
    let undo = undo.map(|undo| undo.trim().to_owned());
    if command.is_empty() || undo.as_ref().is_some_and(String::is_empty) {
        return Err(format!("no command; {EXPECTED}"));
    }
    Ok(FaultSpec { what: What::Command { command, undo }, when, lasts })
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| format!("`{text}` is no time; {EXPECTED}"))
}

fn apart_by(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{text}` is no time above 0; {EXPECTED}")),
        apart => Ok(apart),
    }
}

/// What a word orders.
///
/// # Errors
///
/// When it is none of those there are.
pub fn order_of(word: &str) -> Result<Order, String> {
    // What `virsh destroy` does to a machine is a power cut.
    let word = if word == "destroy" { "kill" } else { word };
    ORDERS.into_iter().find(|order| order.name() == word).ok_or_else(|| {
        let question = kit::guess::question(word, ORDERS.iter().map(|order| order.name()));
        format!("`{word}` is no fault{question}; {EXPECTED}")
    })
}

/// All that can be ordered.
pub const ORDERS: [Order; 5] = [
    Order::Harm(FaultKind::Kill),
    Order::Harm(FaultKind::Freeze),
    Order::Harm(FaultKind::Thaw),
    Order::Harm(FaultKind::StopProcess),
    Order::Replace,
];

impl Order {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Order::Harm(FaultKind::Kill) => "kill",
            Order::Harm(FaultKind::Freeze) => "freeze",
            Order::Harm(FaultKind::Thaw) => "thaw",
            Order::Harm(FaultKind::StopProcess) => "stop-process",
            Order::Replace => "replace",
        }
    }
}

impl FaultSpec {
    /// Whether it comes again and again.
    pub fn repeats(&self) -> bool {
        matches!(self.when, When::Every(_) | When::Random(_))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Order { order, target } => write!(f, "{} {target}", order.name()),
            What::Command { command, undo: None } => write!(f, "exec:{command}"),
            What::Command { command, undo: Some(undo) } => write!(f, "exec:{command} undo:{undo}"),
        }
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FaultSpec { what, when, lasts } = self;
        write!(f, "{what}")?;
        if let Some(lasts) = lasts {
            write!(f, " for {}", humantime::format_duration(*lasts))?;
        }
        let time = humantime::format_duration;
        match when {
            When::FromStart(after) => write!(f, " @{}", time(*after)),
            When::AfterRecovery(after) => write!(f, " @+{}", time(*after)),
            When::Every(apart) => write!(f, " @every {}", time(*apart)),
            When::Random(apart) => write!(f, " @random {}", time(*apart)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for text in [
            "kill stateless @5s",
            "stop-process a-lb @+1s 500ms",
            "exec:ssh root@a reboot @5s",
            "freeze a-lb for 3s @every 20s",
            "replace stateless @random 1m",
            "exec:for i in 1; do cut a; done undo:heal a for 2s @5s",
            "exec:cut a undo:for i in 1; do heal a; done @5s",
        ] {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
        }
        let spec: FaultSpec = "exec:ssh root@a reboot @+250ms".parse().unwrap();
        assert_eq!(spec.what, What::Command { command: "ssh root@a reboot".to_owned(), undo: None });
        assert_eq!(spec.when, When::AfterRecovery(Duration::from_millis(250)));
        let spec: FaultSpec = "exec:cut a undo:heal a for 2s @5s".parse().unwrap();
        assert_eq!(spec.lasts, Some(Duration::from_secs(2)));
        assert_eq!("destroy a @1s".parse::<FaultSpec>().unwrap(), "kill a @1s".parse().unwrap());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_expected() {
        for (text, reason) in [
            ("kill stateless", "no @TIME"),
            ("kill stateless @soon", "`soon` is no time"),
            ("kill stateless @5", "`5` is no time"),
            ("kill stateless @every 0s", "no time above 0"),
            ("kill stateless for 3s @5s", "only a freeze"),
            ("maim stateless @5s", "`maim` is no fault"),
            ("freze stateless @5s", "did you mean `freeze`?"),
            ("kill @5s", "expected"),
            ("exec: @5s", "no command"),
            ("exec:a undo: @5s", "no command"),
        ] {
            let error = text.parse::<FaultSpec>().unwrap_err();
            assert!(error.contains(reason) && error.contains("expected \"kill|freeze"), "{text}: {error}");
        }
    }
}
