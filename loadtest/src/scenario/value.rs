//! Values as they stand in a scenario.

use std::str::FromStr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::options;

/// A value that is written as text.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Read<T>(#[cfg_attr(test, schemars(with = "String"))] pub T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Read).map_err(D::Error::custom)
    }
}

/// A time, written as `"5s"`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Time(#[cfg_attr(test, schemars(with = "String"))] pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_duration(&text);
        time.map(Time).map_err(|_| D::Error::custom(format!("`{text}` is no time such as 500ms, 30s or 2m")))
    }
}

/// A share in percent, above 0.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Percent(pub f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        options::percent_above(&percent.to_string()).map(Percent).map_err(D::Error::custom)
    }
}

/// A rate in requests per second, above 0.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rate(pub f64);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rate = f64::deserialize(deserializer)?;
        options::rate(&rate.to_string()).map(Rate).map_err(D::Error::custom)
    }
}

/// What `--manager` takes.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Manager(pub String);

impl<'de> Deserialize<'de> for Manager {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::faults::way::manager(&text).map(Manager).map_err(D::Error::custom)
    }
}
