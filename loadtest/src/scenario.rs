//! A scenario: a file that has a whole run, so that it can be kept, shared and repeated.
//!
//! ```toml
//! url = "http://192.168.10.120/random/number"
//! managers = ["http://192.168.10.1:8080"]
//! require = ["availability>=99.9", "outage<2s"]
//!
//! [load]
//! rate = 500
//! duration = "30s"
//!
//! [[fault]]
//! kill = "stateless"
//! at = "5s"
//! ```

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use kit::config::{ConfigError, Source};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::faults::spec::{FaultSpec, ORDERS, Order, What, When};
use crate::load::Connections;
use crate::options::{self, load};
use crate::origin::Resolve;
use crate::require::Requirement;
use crate::schedule::Stages;
use crate::target;

/// What a file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Scenario {
    /// As the argument.
    pub url: Option<String>,
    /// As `--manager`.
    pub managers: Vec<Manager>,
    /// As `--token-file`; beside the scenario.
    pub token_file: Option<PathBuf>,
    /// As `--ca`; beside the scenario.
    pub ca: Option<PathBuf>,
    /// As `--require`.
    pub require: Vec<Read<Requirement>>,
    /// As `--slo`.
    pub slo: Option<Percent>,
    /// As `--success-threshold`.
    pub success_threshold: Option<Percent>,
    /// As `--lateness-max`.
    pub lateness_max: Option<Time>,
    /// As `--fault-timeout`.
    pub fault_timeout: Option<Time>,
    /// How requests are begun.
    pub load: LoadTable,
    /// What is asked for.
    pub target: Vec<target::Written>,
    /// What is broken.
    pub fault: Vec<FaultTable>,
}

/// The table `[load]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LoadTable {
    /// As `--rate`.
    pub rate: Option<Rate>,
    /// As `--duration`.
    pub duration: Option<Time>,
    /// As `--stages`.
    pub stages: Option<Read<Stages>>,
    /// As `--arrivals`.
    pub arrivals: Option<load::Written>,
    /// As `--users`.
    pub users: Option<u32>,
    /// As `--loops`.
    pub loops: Option<u64>,
    /// As `--think`.
    pub think: Option<Time>,
    /// As `--ramp-up`.
    pub ramp_up: Option<Time>,
    /// As `--timeout`.
    pub timeout: Option<Time>,
    /// `half`, `fresh` (as `--fresh`) or `kept` (as `--keep-alive`).
    pub connections: Option<Connections>,
    /// As `--connections-max`.
    pub connections_max: Option<u32>,
    /// As `--http2`.
    pub http2: bool,
    /// As `--insecure`.
    pub insecure: bool,
    /// As `--resolve`.
    pub resolve: Vec<Read<Resolve>>,
    /// As `--look-up-each`.
    pub look_up_each: bool,
    /// As `--threads`.
    pub threads: Option<u32>,
    /// As `--seed`.
    pub seed: Option<u64>,
}

/// A table `[[fault]]`: what, and one of `at`, `after`, `every` and `random`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FaultTable {
    kill: Option<String>,
    destroy: Option<String>,
    suspend: Option<String>,
    resume: Option<String>,
    freeze: Option<String>,
    thaw: Option<String>,
    stop_process: Option<String>,
    replace: Option<String>,
    cut: Option<String>,
    heal: Option<String>,
    stop_manager: Option<String>,
    exec: Option<String>,
    undo: Option<String>,
    at: Option<Time>,
    after: Option<Time>,
    every: Option<Time>,
    random: Option<Time>,
    #[serde(rename = "for")]
    lasts: Option<Time>,
    overlap: bool,
}

/// A file that was read.
#[derive(Debug)]
pub struct Written {
    /// Its text, to point into.
    pub source: Source,
    /// What it says.
    pub scenario: Scenario,
    /// Its faults.
    pub faults: Vec<FaultSpec>,
}

/// Reads a scenario.
///
/// # Errors
///
/// With file, line and column where it is wrong.
pub fn read(file: &Path) -> Result<Written, ConfigError> {
    let source = Source::read(file)?;
    let scenario: Scenario = source.parse()?;
    let faults = scenario.fault.iter().enumerate().map(|(index, fault)| {
        fault.meant().map_err(|error| source.error_in(&format!("fault[{index}]"), &error))
    });
    let faults = faults.collect::<Result<_, _>>()?;
    Ok(Written { source, scenario, faults })
}

impl Written {
    /// A file that is named in the scenario: beside it.
    pub fn beside(&self, file: &Path) -> PathBuf {
        self.source.path().parent().unwrap_or(Path::new(".")).join(file)
    }
}

impl FaultTable {
    fn meant(&self) -> Result<FaultSpec, String> {
        let whens = [
            self.at.map(|at| When::FromStart(at.0)),
            self.after.map(|after| When::AfterRecovery(after.0)),
            self.every.map(|apart| When::Every(apart.0)),
            self.random.map(|apart| When::Random(apart.0)),
        ];
        let mut whens = whens.into_iter().flatten();
        let (Some(when), None) = (whens.next(), whens.next()) else {
            return Err("expected one of at, after, every and random with a time such as \"5s\"".to_owned());
        };
        if matches!(when, When::Every(Duration::ZERO) | When::Random(Duration::ZERO)) {
            return Err("expected a time above 0 between faults that come again and again".to_owned());
        }
        if self.overlap && self.after.is_some() {
            return Err("`after` waits for the faults before, and `overlap` does not: take one".to_owned());
        }
        let named = [
            &self.kill,
            &self.freeze,
            &self.thaw,
            &self.stop_process,
            &self.replace,
            &self.cut,
            &self.heal,
            &self.stop_manager,
        ];
        let mut orders: Vec<(Order, &String)> = ORDERS
            .into_iter()
            .zip(named)
            .filter_map(|(order, target)| Some((order, target.as_ref()?)))
            .collect();
        let virsh = ORDERS.into_iter().zip([&self.destroy, &self.suspend, &self.resume]);
        orders.extend(virsh.filter_map(|(order, target)| Some((order, target.as_ref()?))));
        let lasts = self.lasts.map(|lasts| lasts.0).filter(|lasts| !lasts.is_zero());
        let what = match (&orders[..], &self.exec) {
            ([(order, target)], None) if self.undo.is_none() => {
                order.lasting(lasts)?;
                What::Order { order: *order, target: (*target).clone() }
            }
            ([], Some(command)) => {
                if lasts.is_some() && self.undo.is_none() {
                    return Err("`for` needs `undo`, the command that ends it".to_owned());
                }
                What::Command { command: command.clone(), undo: self.undo.clone() }
            }
            _ => {
                let expected = "expected one of kill, freeze, thaw, stop-process and replace with the name of a machine or a \
                     service, cut, heal and stop-manager with that of a host, or exec with a command and perhaps undo \
                     with another";
                return Err(expected.to_owned());
            }
        };
        Ok(FaultSpec { what, when, lasts, overlap: self.overlap })
    }
}

/// A value that is written as text.
#[derive(Clone, Debug)]
pub struct Read<T>(pub T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Read).map_err(D::Error::custom)
    }
}

/// A time, written as `"5s"`.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_duration(&text);
        time.map(Time).map_err(|_| D::Error::custom(format!("`{text}` is no time such as 500ms, 30s or 2m")))
    }
}

/// A share in percent, above 0.
#[derive(Clone, Copy, Debug)]
pub struct Percent(pub f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        options::percent_above(&percent.to_string()).map(Percent).map_err(D::Error::custom)
    }
}

/// A rate in requests per second, above 0.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub f64);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rate = f64::deserialize(deserializer)?;
        options::rate(&rate.to_string()).map(Rate).map_err(D::Error::custom)
    }
}

/// What `--manager` takes.
#[derive(Clone, Debug)]
pub struct Manager(pub String);

impl<'de> Deserialize<'de> for Manager {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::faults::way::manager(&text).map(Manager).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let source = Source::from_text("s.toml", text);
        let scenario: Scenario = source.parse().map_err(|error| error.to_string())?;
        let faults = scenario.fault.iter().enumerate().map(|(index, fault)| {
            fault.meant().map_err(|error| source.error_in(&format!("fault[{index}]"), &error).to_string())
        });
        faults.map(|fault| fault.map(|fault| fault.to_string())).collect()
    }

    #[test]
    fn faults_are_what_flags_would_say() {
        let faults = read(
            "require = [\"p99<50ms\"]\nslo = 99.9\n[load]\nstages = \"1m:100\"\nthink = \"1s\"\n\
             [[fault]]\nkill = \"stateless\"\nat = \"5s\"\n\
             [[fault]]\nfreeze = \"a-lb\"\nfor = \"3s\"\nevery = \"20s\"\n\
             [[fault]]\nexec = \"cut a\"\nundo = \"heal a\"\nfor = \"2s\"\nafter = \"1s\"\n\
             [[fault]]\ndestroy = \"b\"\nrandom = \"1m\"\n\
             [[fault]]\ncut = \"b\"\nfor = \"2s\"\nat = \"9s\"\noverlap = true\n\
             [[fault]]\nresume = \"b\"\nat = \"9s\"\n",
        );
        let expected = [
            "kill stateless @5s",
            "freeze a-lb for 3s @every 20s",
            "exec:cut a undo:heal a for 2s @+1s",
            "kill b @random 1m",
            "cut b for 2s @9s overlap",
            "thaw b @9s",
        ];
        assert_eq!(faults.unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_stands() {
        for (text, place, expected) in [
            ("[load]\nrat = 5\n", "s.toml:2:1: ", "did you mean `rate`?"),
            ("[load]\nrate = 0\n", "s.toml:2:8: ", "more than 0"),
            ("[load]\nduration = \"5\"\n", "s.toml:2:12: ", "such as 500ms"),
            ("[load]\nstages = \"5\"\n", "s.toml:2:10: ", "such as 1m:100,2m:2000"),
            ("[load]\nconnections = \"none\"\n", "s.toml:2:15: ", "`half`"),
            ("require = [\"p98<5ms\"]\n", "s.toml:1:11: ", "`p98`"),
            ("managers = [\"a\"]\n", "s.toml:1:12: ", "such as http://192.168.10.1:8080"),
            ("slo = 101\n", "s.toml:1:7: ", "up to 100"),
            ("[[fault]]\nkill = \"a\"\n", "s.toml:1:1: ", "one of at, after, every and random"),
            ("[[fault]]\nkill = \"a\"\nat = \"1s\"\nevery = \"1s\"\n", "s.toml:1:1: ", "one of at"),
            ("[[fault]]\nkil = \"a\"\n", "s.toml:2:1: ", "did you mean `kill`?"),
            ("[[fault]]\nat = \"1s\"\n", "s.toml:1:1: ", "expected one of kill"),
            ("[[fault]]\nkill = \"a\"\nfor = \"1s\"\nat = \"1s\"\n", "s.toml:1:1: ", "leave out `for`"),
            ("[[fault]]\ncut = \"a\"\nat = \"1s\"\n", "s.toml:1:1: ", "say for how long"),
            ("[[fault]]\nkill = \"a\"\nafter = \"1s\"\noverlap = true\n", "s.toml:1:1: ", "take one"),
            ("[[fault]]\nexec = \"a\"\nfor = \"1s\"\nat = \"1s\"\n", "s.toml:1:1: ", "needs `undo`"),
            ("[[fault]]\nexec = \"a\"\nkill = \"b\"\nat = \"1s\"\n", "s.toml:1:1: ", "expected one of kill"),
            ("[[target]]\nwieght = 1\n", "s.toml:2:1: ", "did you mean `weight`?"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(expected), "{text}: {error}");
        }
    }
}
