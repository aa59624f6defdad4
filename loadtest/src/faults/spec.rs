//! The grammar of `--fault`.
//!
//! ```text
//! SPEC    = WHAT (" @" TIME | " @+" TIME | " @every " TIME | " @random " TIME) [" overlap"]
//! WHAT    = KIND " " TARGET [" for " TIME] | "exec:" COMMAND [" undo:" COMMAND [" for " TIME]]
//! KIND    = "kill" (or "destroy") | "freeze" (or "suspend") | "thaw" (or "resume") | "stop-process" | "replace"
//!         | "cut" | "heal" | "stop-manager"
//! TARGET  = a machine's name, or a service's (its first ready machine); a host's for the last three
//! TIME    = such as 5s or 1500ms; with "+" after the faults before have recovered, with "every" again and again,
//!           with "random" at times drawn by the seed, so far apart on average; else from the start
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use wire::cluster::FaultKind;
use wire::host_faults::HostFaultKind;

/// What to break and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// What.
    pub what: What,
    /// When.
    pub when: When,
    /// After how long it is undone; at the run's end at the latest, where it can be.
    pub lasts: Option<Duration>,
    /// Whether it comes at its time though others have not recovered.
    pub overlap: bool,
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
    /// Harm to a whole host.
    Host(HostFaultKind),
    /// The end of a host's being cut off.
    Heal,
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

const EXPECTED: &str = "expected \"kill|freeze|thaw|stop-process|replace MACHINE @TIME\", \"cut|stop-manager HOST for \
    TIME @TIME\", \"heal HOST @TIME\" or \"exec:COMMAND @TIME\", TIME such as 5s or, after the fault before has \
    recovered, +5s, or, again and again, every 20s or random 20s; with \"overlap\" at the end whatever else is in force";

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, when) = text.rsplit_once('@').ok_or_else(|| format!("no @TIME; {EXPECTED}"))?;
        let (when, overlap) = match when.trim().strip_suffix(" overlap") {
            Some(when) => (when.trim(), true),
            None => (when.trim(), false),
        };
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
        if overlap && matches!(when, When::AfterRecovery(_)) {
            return Err(format!("`@+` waits for the faults before, and `overlap` does not; {EXPECTED}"));
        }
        let what = what.trim();
        if let Some(command) = what.strip_prefix("exec:") {
            let (what, lasts) = command_of(command)?;
            return Ok(FaultSpec { what, when, lasts, overlap });
        }
        let (order, target, lasts) = match what.split_whitespace().collect::<Vec<_>>()[..] {
            [kind, target] => (order_of(kind)?, target, None),
            [kind, target, "for", time] => (order_of(kind)?, target, Some(apart_by(time)?)),
            _ => return Err(EXPECTED.to_owned()),
        };
        order.lasting(lasts).map_err(|error| format!("{error}; {EXPECTED}"))?;
        Ok(FaultSpec { what: What::Order { order, target: target.to_owned() }, when, lasts, overlap })
    }
}

fn command_of(text: &str) -> Result<(What, Option<Duration>), String> {
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
    Ok((What::Command { command, undo }, lasts))
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
    // What virsh calls them.
    let word = match word {
        "destroy" => "kill",
        "suspend" => "freeze",
        "resume" => "thaw",
        word => word,
    };
    ORDERS.into_iter().find(|order| order.name() == word).ok_or_else(|| {
        let question = kit::guess::question(word, ORDERS.iter().map(|order| order.name()));
        format!("`{word}` is no fault{question}; {EXPECTED}")
    })
}

/// All that can be ordered.
pub const ORDERS: [Order; 8] = [
    Order::Harm(FaultKind::Kill),
    Order::Harm(FaultKind::Freeze),
    Order::Harm(FaultKind::Thaw),
    Order::Harm(FaultKind::StopProcess),
    Order::Replace,
    Order::Host(HostFaultKind::Cut),
    Order::Heal,
    Order::Host(HostFaultKind::StopManager),
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
            Order::Host(fault) => fault.name(),
            Order::Heal => "heal",
        }
    }

    /// Whether it is undone after its time.
    pub fn is_undone(self) -> bool {
        matches!(self, Order::Harm(FaultKind::Freeze) | Order::Host(_))
    }

    /// Whether it can be for so long.
    ///
    /// # Errors
    ///
    /// When it does not end by itself but is to, or the other way round.
    pub fn lasting(self, lasts: Option<Duration>) -> Result<(), String> {
        match (self, lasts) {
            (Order::Host(_), None) => {
                Err(format!("a host cannot be reached to undo a `{}`: say for how long, `for 5s`", self.name()))
            }
            (_, Some(_)) if !self.is_undone() => {
                Err("only a freeze, a cut, a stop-manager and a command with undo end by themselves: leave out `for`".to_owned())
            }
            _ => Ok(()),
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
        let FaultSpec { what, when, lasts, overlap } = self;
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
        }?;
        if *overlap { f.write_str(" overlap") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
