//! Who may do what: the decision, and nothing else.
//!
//! | | not initialised | initialised |
//! |---|---|---|
//! | open (liveness, metrics, documentation) | everybody | everybody |
//! | status | everybody | everybody with `open_reads`; else as records |
//! | records | this host, its peers | scope read, a certified host, this host |
//! | changes, faults | this host, its peers | scope operate or chaos over TLS, a certified host |
//! | snapshots | its peers | a certified host |
//! | to join | everybody over TLS; a one-time token in the body is the proof | the same |
//! | tokens | the socket | the socket |
//!
//! The manager's own socket may do everything but give snapshots: whoever can open it is root of this host, or
//! in the group that root gave it to. A token is taken over TLS only. On an initialised cluster loopback is no
//! licence to change: every user of the host has it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use axum::http::Method;
use wire::HostName;
use wire::access::Scope;

use super::{From, Origin};
use crate::page::STREAM;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it says nothing that is not for everybody.
    Open,
    /// To see how things are.
    Status,
    /// To see who did what.
    Records,
    /// To change something, with this scope.
    Change(Scope),
    /// To tell about a host, as its manager.
    Snapshot,
    /// To become a host of the cluster, with a join token in the body.
    Enrol,
    /// To give and take away access.
    Tokens,
}

/// What is known of the token that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// None was sent.
    None,
    /// One was sent that is good for nothing; why.
    Worthless(String),
    /// One of ours.
    Known {
        /// What it is called.
        name: String,
        /// What it allows.
        scopes: BTreeSet<Scope>,
    },
}

/// What the manager is told to keep to.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Whether the cluster has a CA: who is who can be proved.
    pub initialised: bool,
    /// Whether the segment may see the status of an initialised cluster.
    pub open_reads: bool,
    /// This host's address.
    pub address: IpAddr,
    /// The listed peers, and the managers that these know.
    pub peers: &'a [IpAddr],
}

/// Who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user of this host, by the socket.
    Socket {
        /// The user's number.
        uid: u32,
    },
    /// A manager or a person of another host, by its certificate.
    Host(HostName, IpAddr),
    /// A token.
    Token(String, IpAddr),
    /// Nothing but an address.
    Address(IpAddr),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Socket { uid } => write!(f, "uid {uid} on the socket"),
            Who::Host(host, address) => write!(f, "host {host} at {address}"),
            Who::Token(name, address) => write!(f, "token {name} at {address}"),
            Who::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Why somebody was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 401 when another answer to "who are you" would help, else 403.
    pub status: u16,
    /// Why, and what to do.
    pub detail: String,
}

impl Refusal {
    fn forbidden(detail: impl Into<String>) -> Self {
        Refusal { status: 403, detail: detail.into() }
    }

    fn unauthorized(detail: impl Into<String>) -> Self {
        Refusal { status: 401, detail: detail.into() }
    }
}

/// Whether `origin`, who sent `bearer`, may do what needs `need`.
///
/// # Errors
///
/// Why not, and what to do about it.
pub fn judge(origin: &Origin, bearer: &Bearer, need: Need, rules: &Rules<'_>) -> Result<Who, Refusal> {
    let from = match &origin.from {
        From::Socket { .. } if need == Need::Snapshot => {
            return Err(Refusal::forbidden("snapshots are taken from the managers of other hosts only"));
        }
        From::Socket { uid } => return Ok(Who::Socket { uid: *uid }),
        From::Network(address) => address.ip().to_canonical(),
    };
    // A join token is judged by the keeper of the CA, which is the only one that knows it.
    if matches!(need, Need::Open | Need::Enrol) {
        return Ok(Who::Address(from));
    }
    if need == Need::Tokens {
        return Err(Refusal::forbidden(
            "access is given and taken away on the host itself only: there, run `manager access` as root",
        ));
    }
    if let Some(host) = &origin.certified {
        return Ok(Who::Host(host.clone(), from));
    }
    match bearer {
        Bearer::None => {}
        sent if !origin.encrypted => return Err(in_the_clear(sent, is_here(from, rules))),
        Bearer::Worthless(why) => return Err(Refusal::unauthorized(why.clone())),
        Bearer::Known { name, scopes } => return by_token(name, scopes, need, from, rules),
    }
    if need == Need::Status && (rules.open_reads || !rules.initialised) {
        return Ok(Who::Address(from));
    }
    if rules.initialised { by_address_alone(from, need, rules) } else { by_trust(from, need, rules) }
}

/// A connection from one of the host's own addresses cannot have come by the wire: the kernel drops such
/// packets there.
fn is_here(from: IpAddr, rules: &Rules<'_>) -> bool {
    from.is_loopback() || from == rules.address
}

fn in_the_clear(sent: &Bearer, here: bool) -> Refusal {
    let mut detail = "a token is taken over https only: use the manager's TLS port".to_owned();
    if !here {
        detail.push_str("; this one crossed the network readable by everybody and has to be given up");
        if let Bearer::Known { name, .. } = sent {
            detail.push_str(&format!(": `manager access revoke {name}`"));
        }
    }
    Refusal::forbidden(detail)
}

fn by_token(
    name: &str,
    scopes: &BTreeSet<Scope>,
    need: Need,
    from: IpAddr,
    rules: &Rules<'_>,
) -> Result<Who, Refusal> {
    let allowed = match need {
        Need::Status | Need::Records => {
            scopes.contains(&Scope::Read)
                || scopes.contains(&Scope::Operate)
                || (need == Need::Status && rules.open_reads)
        }
        Need::Change(scope) => scopes.contains(&scope),
        Need::Open | Need::Enrol => true,
        Need::Snapshot | Need::Tokens => false,
    };
    if allowed {
        return Ok(Who::Token(name.to_owned(), from));
    }
    let held: Vec<String> = scopes.iter().map(Scope::to_string).collect();
    let held = held.join(", ");
    if need == Need::Snapshot {
        let detail = "snapshots are taken from hosts of the cluster only, by their certificates";
        return Err(Refusal::forbidden(detail));
    }
    let scope = if let Need::Change(scope) = need { scope } else { Scope::Read };
    Err(Refusal::forbidden(format!(
        "token `{name}` has the scope {held}, this needs {scope}: `manager access create NAME --scope {scope}`"
    )))
}

fn by_address_alone(from: IpAddr, need: Need, rules: &Rules<'_>) -> Result<Who, Refusal> {
    let here = is_here(from, rules);
    match need {
        Need::Status | Need::Records if here => Ok(Who::Address(from)),
        Need::Status | Need::Records => Err(Refusal::unauthorized(
            "this needs a token of scope read, over https: `manager access create`",
        )),
        Need::Snapshot => Err(Refusal::unauthorized(format!(
            "{from} has shown no certificate: this cluster is initialised, and snapshots are taken from its \
             hosts only; `manager join` makes this a host of it"
        ))),
        Need::Change(_) if here => Err(Refusal::unauthorized(
            "this cluster is initialised, and an address is no proof: run `manager` as root without --manager, \
             which uses the manager's socket",
        )),
        Need::Change(scope) => Err(Refusal::unauthorized(format!(
            "changes need a token of scope {scope} or the certificate of a host, over https; on the host itself \
             run `manager` as root"
        ))),
        // Decided before.
        Need::Open | Need::Enrol | Need::Tokens => Err(Refusal::forbidden("not from there")),
    }
}

/// Without a CA nobody can prove anything; who is trusted is listed.
fn by_trust(from: IpAddr, need: Need, rules: &Rules<'_>) -> Result<Who, Refusal> {
    let peer = rules.peers.contains(&from);
    if peer || (is_here(from, rules) && need != Need::Snapshot) {
        return Ok(Who::Address(from));
    }
    Err(Refusal::forbidden(match need {
        Need::Snapshot => format!("{from} is not in this manager's list of peers"),
        _ => format!(
            "{from} may not: this cluster is not initialised, so this is taken from this host itself and its listed \
             peers only; run it there, or run `manager init` and use a token"
        ),
    }))
}

/// What a request to `route` needs. Whatever is not named here needs the most it could: a new change cannot
/// be forgotten.
pub fn need(method: &Method, route: &str) -> Need {
    let reads = method == Method::GET || method == Method::HEAD;
    match route {
        "/health/live" | "/heartbeat" | "/metrics" if reads => Need::Open,
        docs if reads && (docs.starts_with("/swagger-ui") || docs.starts_with("/api-docs/")) => Need::Open,
        // What stands in the page is asked for apart.
        "/" if reads => Need::Open,
        asset if reads && asset.starts_with("/page/") && asset != STREAM => Need::Open,
        access if access.starts_with("/access/") => Need::Tokens,
        "/audit" if reads => Need::Records,
        "/peers/{host}" | "/pki/revocations" if method == Method::PUT || method == Method::PATCH => {
            Need::Snapshot
        }
        "/gossip" => Need::Snapshot,
        "/certificates/exchange" => Need::Snapshot,
        "/pki/join" => Need::Enrol,
        // Also to see what can be ordered: it is asked before anything is.
        "/vms/{id}/fault" | "/host/fault" => Need::Change(Scope::Chaos),
        // Whoever sits at a console can do everything there.
        "/vms/{id}/console" => Need::Change(Scope::Operate),
        _ if reads => Need::Status,
        _ => Need::Change(Scope::Operate),
    }
}

#[cfg(test)]
mod tests;
