//! Who a client is, and what it may: parts of a [`ProxyConfig`](crate::proxy_config::ProxyConfig) and of its
//! [`Route`](crate::proxy_config::Route)s, explained in `docs/limits.md`.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Addresses that begin alike, such as `10.0.0.0/8` or `2001:db8::/32`; or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema, JsonSchema)]
#[schema(value_type = String)]
pub struct Network(#[schemars(with = "String")] IpNet);

impl Network {
    /// Its first and its last address.
    #[must_use]
    pub fn range(&self) -> (IpAddr, IpAddr) {
        (self.0.network(), self.0.broadcast())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let network: IpNet = text.parse().ok().or_else(address).ok_or_else(|| {
            format!("expected a network such as \"10.0.0.0/8\", or an address, found {text:?}")
        })?;
        let whole = network.trunc();
        if whole != network {
            return Err(format!(
                "expected a network, found {text:?}, which has more than its first {} bits; did you mean `{whole}`?",
                network.prefix_len()
            ));
        }
        Ok(Network(network))
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OfText(PhantomData))
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads what is written as a text, and objects where that stands, which an error that comes later could not name.
pub(crate) struct OfText<T>(pub(crate) PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for OfText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which header fields trusted proxies are believed, of those that name a request's client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientFrom {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` for the scheme.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Which header fields tell upstreams of a request's client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarded {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// All of them.
    Both,
    /// None of them.
    Off,
}

/// Whether `value` is what stands for it when nothing is said.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_as_it_was_read_and_has_no_bits_to_spare() {
        for (text, first, last) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("2001:db8::/127", "2001:db8::", "2001:db8::1"),
            ("::1", "::1", "::1"),
        ] {
            let network: Network = text.parse().expect(text);
            let range = (first.parse().expect("address"), last.parse().expect("address"));
            assert_eq!(network.range(), range, "{text}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        for (text, hint) in [("10.0.0.1/8", "`10.0.0.0/8`"), ("10.0.0.0/33", "such as"), ("here", "such as")]
        {
            assert!(text.parse::<Network>().expect_err(text).contains(hint), "{text}");
        }
    }
}
