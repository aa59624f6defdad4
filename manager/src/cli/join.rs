//! `manager join`: brings this host into a cluster.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;
use wire::tls::Joined;

use super::Usage;
use crate::config::Config;
use crate::pki::enrolment;
use crate::pki::files::Directory;
use crate::pki::tokens::Token;
use crate::tls::client::Client;
use crate::tls::pin;

/// A manager answers within this, or there is none.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to, and what proves that this host was invited.
#[derive(Args, Debug)]
pub struct JoinArgs {
    /// The address of the host where `manager init` was run, with :PORT if its tls_port is not this host's.
    address: String,
    /// What `manager token` printed there; - reads it from standard input, where no other user sees it.
    token: String,
}

/// Joins, and says what is to be done next.
///
/// # Errors
///
/// When this host belongs to a cluster already; when the other one is not of the token's cluster; what it refused,
/// in its words.
pub fn join(config: &Config, args: &JoinArgs) -> Result<()> {
    let directory = Directory::of(&config.state_dir);
    if directory.exists() {
        let own = directory.own()?;
        bail!(
            "this host belongs to a cluster already, as `{}`: to move it to another one, or back into this one after it \
             was revoked, stop its manager and remove {}",
            own.host,
            directory.path("").display()
        );
    }
    let read = |text: &str| text.parse::<Token>().map_err(|error| Usage::new(&error.to_string()));
    let token = match args.token.as_str() {
        "-" => read(&std::io::read_to_string(std::io::stdin()).context("the token cannot be read")?)?,
        token => read(token)?,
    };
    let address = address(&args.address, config.tls_port)?;
    // Before the token is shown to anybody: it is good for one try.
    let prepared = directory.prepare()?;
    let (request, key) = enrolment::ask(config, token.secret)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(pin::config(&token.ca)?, TIMEOUT);
    let url = format!("https://{address}/pki/join");
    let answer = runtime.block_on(client.send(Method::POST, &url, Some(&request)));
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => bail!(
            "cannot join at {address}: {reason}. Does the manager run there, after `manager init`, and is its tls_port \
             {}?",
            address.port()
        ),
    };
    let joined: Joined = match answer.accepted() {
        Ok(answer) => answer.json().map_err(anyhow::Error::msg)?,
        // What is wrong there is not to be looked for here.
        Err(problem) if problem.status >= 500 => bail!("the manager at {address} cannot: {}", problem.detail),
        Err(problem) => bail!("{}", problem.detail),
    };
    enrolment::store(config, prepared, &joined, &key, &token.ca)?;
    let others: Vec<String> = joined
        .members
        .iter()
        .filter(|member| member.host != config.name)
        .map(|member| format!("{} ({})", member.host, member.address))
        .collect();
    println!(
        "`{0}` is in the cluster, with {1}.\n\nA manager that runs here takes the certificates up within a second, and \
         knows the others without a\nline in its configuration. A balancer that runs already has no certificate yet: \
         `manager vm replace\n{0}-lb` gives it one.",
        config.name,
        others.join(", ")
    );
    Ok(())
}

fn address(text: &str, port: u16) -> Result<SocketAddr, Usage> {
    let address = text.parse::<SocketAddr>();
    let address = address.or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, port)));
    address.map_err(|_| {
        Usage::new(&format!(
            "`{text}` is no address: expected one such as 192.168.10.1, or 192.168.10.1:8443"
        ))
    })
}
