//! Where requests go: the scheme, host and port of the URL, and the address behind them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use http::Uri;

/// A host and port whose address is given instead of looked up, as curl's `--resolve` has it: HOST:PORT:ADDRESS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    address: IpAddr,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (host, rest) = text.split_once(':').filter(|(host, _)| !host.is_empty())?;
            let (port, address) = rest.split_once(':')?;
            let address = address.trim_matches(['[', ']']).parse().ok()?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some(Resolve { host: host.to_ascii_lowercase(), port, address })
        };
        read().ok_or_else(|| "expected HOST:PORT:ADDRESS, such as example.com:443:192.168.10.120".to_owned())
    }
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands in `Host`.
    pub authority: String,
    /// The socket that is connected to.
    pub address: SocketAddr,
    /// Whether the name is looked up for each connection; else it was, once.
    pub looked_up_each: bool,
    /// Path and query of the URL.
    pub path: String,
}

impl Origin {
    /// Reads `url` and looks its host up, unless `resolve` has it.
    ///
    /// # Errors
    ///
    /// When it is no URL of HTTP or its host has no address.
    pub async fn find(url: &str, resolve: &[Resolve], look_up_each: bool) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| {
            format!("`{url}` is not a URL: expected one such as http://192.168.10.120/random/number")
        })?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("`{url}` is not a URL with http:// or https:// in front"),
        };
        let authority = uri.authority().with_context(|| format!("`{url}` names no host"))?;
        ensure!(
            !authority.as_str().contains('@'),
            "`{url}`: user and password are not supported in URLs; use --header 'Authorization: …'"
        );
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        ensure!(!host.is_empty(), "`{url}` names no host");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        ensure!(port > 0, "`{url}`: port 0 cannot be connected to");
        let given = resolve.iter().find(|given| given.host == host && given.port == port);
        let address = match given {
            Some(given) => SocketAddr::new(given.address, port),
            None => look_up(&host, port)
                .await
                .with_context(|| format!("looking up `{host}`"))?
                .with_context(|| format!("`{host}` has no address"))?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let looked_up_each = look_up_each && given.is_none() && host.parse::<IpAddr>().is_err();
        Ok(Origin { tls, host, port, authority: authority.to_string(), address, looked_up_each, path })
    }
}

/// The first address of a host, if it has any.
pub(crate) async fn look_up(host: &str, port: u16) -> std::io::Result<Option<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_given_is_not_looked_up() {
        let resolve =
            ["Example.invalid:443:[::1]", "example.invalid:80:127.0.0.9"].map(|text| text.parse().unwrap());
        let found = Origin::find("https://example.invalid/a?b", &resolve, true).await.unwrap();
        assert_eq!((found.address.to_string().as_str(), found.tls), ("[::1]:443", true));
        assert_eq!((found.path.as_str(), found.looked_up_each), ("/a?b", false));
        let found = Origin::find("http://EXAMPLE.invalid", &resolve, false).await.unwrap();
        assert_eq!((found.address.to_string().as_str(), found.path.as_str()), ("127.0.0.9:80", "/"));
        let found = Origin::find("http://[::1]:8080/", &[], true).await.unwrap();
        assert_eq!((found.host.as_str(), found.looked_up_each), ("::1", false));
        for wrong in ["example.com:443", "example.com:0:1.2.3.4", ":1:1.2.3.4", "a:1:b"] {
            assert!(wrong.parse::<Resolve>().unwrap_err().contains("HOST:PORT:ADDRESS"), "{wrong}");
        }
    }
}
