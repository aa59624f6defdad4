//! How often clients may ask: part of a [`ProxyConfig`](crate::proxy_config::ProxyConfig) and of its
//! [`Route`](crate::proxy_config::Route)s, explained in `docs/limits.md`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::clients::OfText;

/// The units of time and their milliseconds, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// So many requests in so much time, such as `100/s`, `20/m` or `5/10s`. The units are s, m, h and d.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many requests, 1 to [`Rate::MAX_REQUESTS`] …
    pub requests: u32,
    /// … in so many milliseconds, at most a day.
    pub per_ms: u64,
}

impl Rate {
    /// The most requests that can be said.
    pub const MAX_REQUESTS: u32 = 1_000_000;
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (requests, time) = text.split_once('/')?;
            let (name, millis) = UNITS.into_iter().find(|(name, _)| time.ends_with(name))?;
            let count = time.strip_suffix(name)?;
            let count: u64 = if count.is_empty() { 1 } else { count.parse().ok()? };
            let rate = Rate { requests: requests.parse().ok()?, per_ms: count.checked_mul(millis)? };
            let in_range =
                (1..=Self::MAX_REQUESTS).contains(&rate.requests) && (1..=UNITS[0].1).contains(&rate.per_ms);
            in_range.then_some(rate)
        };
        parse().ok_or_else(|| {
            format!(
                "expected 1 to {} requests in some seconds, minutes or hours, at most a day, such as \"100/s\" or \
                 \"5/10m\", found {text:?}",
                Self::MAX_REQUESTS
            )
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.into_iter().find(|(_, millis)| self.per_ms.is_multiple_of(*millis));
        let (name, millis) = whole.unwrap_or(("ms", 1));
        match self.per_ms / millis {
            1 => write!(f, "{}/{name}", self.requests),
            count => write!(f, "{}/{count}{name}", self.requests),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OfText(PhantomData))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How often something may be asked for. What comes sooner waits, if it may, and is else refused with 429.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// So often, in the long run.
    #[schema(value_type = String)]
    #[schemars(with = "String")]
    pub rate: Rate,
    /// So many requests may come at once after a pause; none: as many as the rate names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Whose requests are counted together.
    #[serde(default)]
    pub by: RateKey,
    /// A request that comes too soon waits so many milliseconds at most; 0: it is refused at once.
    #[serde(default)]
    pub delay_ms: u64,
    /// Of so many at a time it is known how often they have asked; of more, those are forgotten who have asked least.
    #[serde(default = "default_keys")]
    pub keys: u32,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateKey {
    /// Those of one client, by its address; of IPv6 the first 64 bits, as a client has all the others.
    #[default]
    Client,
    /// All of them.
    All,
    /// Those with one value of the header field of this name; those without it go by the client.
    Header(String),
    /// Those with one value of the cookie of this name; those without it go by the client.
    Cookie(String),
}

fn default_keys() -> u32 {
    100_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_people_say_it() {
        for (text, requests, per_ms, again) in [
            ("100/s", 100, 1_000, "100/s"),
            ("1000000/1d", 1_000_000, 86_400_000, "1000000/d"),
            ("5/10m", 5, 600_000, "5/10m"),
            ("5/60s", 5, 60_000, "5/m"),
        ] {
            let rate: Rate = text.parse().expect(text);
            assert_eq!((rate.requests, rate.per_ms, rate.to_string().as_str()), (requests, per_ms, again));
        }
        for text in ["", "100", "100/", "100/0s", "0/s", "-1/s", "1/2d", "1/w", "1/ms", "1000001/s", "1/s/s"]
        {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
