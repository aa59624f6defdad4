//! How hosts come into the cluster, and how they are taken out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{CertificateParams, KeyPair};
use wire::HostName;
use wire::tls::{JoinRequest, Joined, Member};

use super::authority::{Authority, fingerprint, ranges};
use super::files::{Directory, Prepared, json};
use super::tokens::Tokens;
use super::{PkiError, now, revocation};
use crate::address_pool::{AddressPool, AddressRange};
use crate::config::{Config, check_name};

/// Makes the cluster: its CA, and the intermediate of this first host. Gives the CA's fingerprint.
///
/// # Errors
///
/// When this host belongs to a cluster already, or the files cannot be written.
pub fn found(config: &Config) -> Result<String, PkiError> {
    let prepared = Directory::of(&config.state_dir).prepare()?;
    let (authority, ca_key) = Authority::create()?;
    let key = KeyPair::generate()?;
    let mut own = member(config);
    own.keeps_ca = true;
    let certificate = authority.certify_key(&mut own, &key)?;
    let members = [own];
    prepared.finish(&[
        ("ca.pem", authority.certificate().into()),
        ("ca.key", ca_key.into_bytes()),
        ("host-ca.pem", certificate.into_bytes()),
        ("host-ca.key", key.serialize_pem().into_bytes()),
        ("host.json", json(&members[0])?),
        ("members.json", json(&members)?),
        ("revocations.pem", revocation::first(&authority)?.into_bytes()),
    ])?;
    fingerprint(authority.certificate())
}

/// Makes the intermediate of the host that keeps the CA anew, for the address and the pool that its configuration
/// has now. The one before it cannot be used any more: its key is gone.
///
/// # Errors
///
/// When this host does not keep the CA, or contradicts another one.
pub fn recertify(config: &Config) -> Result<(), PkiError> {
    let directory = Directory::of(&config.state_dir);
    let authority = directory.authority()?;
    let _one = directory.lock()?;
    let before = directory.own()?;
    let mut own = member(config);
    own.keeps_ca = true;
    if own.host != before.host {
        return Err(PkiError::Refused(format!(
            "this host is `{}` in its cluster, and cannot become `{}`: the configuration must keep its name",
            before.host, own.host
        )));
    }
    let mut members = directory.members()?;
    members.retain(|member| member.host != own.host || member.revoked_s.is_some());
    check(&own, &members)?;
    let key = KeyPair::generate()?;
    let certificate = authority.certify_key(&mut own, &key)?;
    members.insert(0, own.clone());
    // Interrupted, this is done again: all that it needs stays.
    directory.replace("host-ca.key", key.serialize_pem().as_bytes())?;
    directory.replace("host-ca.pem", certificate.as_bytes())?;
    directory.store("host.json", &own)?;
    directory.store("members.json", &members)
}

/// This host, as its configuration describes it.
fn member(config: &Config) -> Member {
    Member {
        host: config.name.clone(),
        address: config.address,
        address_pool: config.pool.to_texts(),
        serial: String::new(),
        keeps_ca: false,
        revoked_s: None,
    }
}

/// What a host that wants to join says, and the key that it keeps for itself.
///
/// # Errors
///
/// When no key can be made here.
pub fn ask(config: &Config, secret: String) -> Result<(JoinRequest, KeyPair), PkiError> {
    let key = KeyPair::generate()?;
    let own = member(config);
    let request = JoinRequest {
        secret,
        host: own.host,
        address: own.address,
        address_pool: own.address_pool,
        request: CertificateParams::default().serialize_request(&key)?.pem()?,
    };
    Ok((request, key))
}

/// Lets the host that asks into the cluster, if its token is good and it is like no other.
///
/// # Errors
///
/// When this host does not keep the CA; when the token is unknown, used or expired; when name, address or pool
/// contradict those of another host. A token is used up only when all is well.
pub fn admit(directory: &Directory, request: &JoinRequest) -> Result<Joined, PkiError> {
    let authority = directory.authority()?;
    let _one = directory.lock()?;
    let tokens = Tokens::of(directory);
    tokens.check(&request.secret)?;
    let mut members = directory.members()?;
    let mut new = Member {
        host: request.host.clone(),
        address: request.address,
        address_pool: request.address_pool.clone(),
        serial: String::new(),
        keeps_ca: false,
        revoked_s: None,
    };
    check(&new, &members)?;
    let intermediate = authority.certify(&mut new, &request.request)?;
    tokens.take(&request.secret)?;
    members.push(new);
    if let Err(error) = directory.store("members.json", &members) {
        // Nobody was let in: the token is good for the next try.
        tokens.give_back(&request.secret);
        return Err(error);
    }
    members.retain(|member| member.revoked_s.is_none());
    Ok(Joined {
        ca: authority.certificate().to_owned(),
        intermediate,
        revocations: directory.read("revocations.pem")?,
        members,
    })
}

/// No two hosts may have anything in common.
fn check(new: &Member, members: &[Member]) -> Result<(), PkiError> {
    let refuse = |why: String| Err(PkiError::Refused(why));
    if let Err(expected) = check_name(new.host.as_str()) {
        return refuse(format!("the host's name: {expected}"));
    }
    let pool = pool(new)?;
    if pool.contains(new.address) {
        return refuse(format!(
            "the address pool contains {}, the host's own address: leave it out",
            new.address
        ));
    }
    for other in members.iter().filter(|member| member.revoked_s.is_none()) {
        if other.host == new.host {
            return refuse(format!(
                "the cluster has a host `{0}` already (at {1}): choose another name, or `manager revoke {0}` first if \
                 this host takes its place",
                other.host, other.address
            ));
        }
        if other.address == new.address {
            return refuse(format!("{} is the address of host `{}` already", new.address, other.host));
        }
        if pool.contains(other.address) {
            return refuse(format!(
                "the address pool contains {}, the address of host `{}`",
                other.address, other.host
            ));
        }
        if ranges(&other.address_pool)?.iter().any(|range| range.contains(new.address)) {
            return refuse(format!("{} is in the address pool of host `{}`", new.address, other.host));
        }
        if let Some(both) = pool.overlap(&other.address_pool) {
            return refuse(format!(
                "the address pool overlaps that of host `{}`: both contain {both}; give each host addresses of its own",
                other.host
            ));
        }
    }
    Ok(())
}

fn pool(member: &Member) -> Result<AddressPool, PkiError> {
    let ranges: Vec<AddressRange> = ranges(&member.address_pool)?;
    AddressPool::new(&ranges).map_err(|error| PkiError::Refused(format!("address_pool: {error}")))
}

/// Stores what the cluster gave this host, which from then on is in it.
///
/// # Errors
///
/// When the answer does not fit the question, or cannot be stored.
pub fn store(
    config: &Config,
    prepared: Prepared,
    joined: &Joined,
    key: &KeyPair,
    pin: &str,
) -> Result<(), PkiError> {
    if fingerprint(&joined.ca)? != pin {
        return Err(PkiError::Damaged("the answer is of another CA than the token".to_owned()));
    }
    revocation::number(&joined.revocations, &joined.ca)?;
    let own = joined.members.iter().find(|member| member.host == config.name);
    let own = own.ok_or_else(|| PkiError::Damaged("the answer does not name this host".to_owned()))?;
    prepared.finish(&[
        ("ca.pem", joined.ca.clone().into_bytes()),
        ("host-ca.pem", joined.intermediate.clone().into_bytes()),
        ("host-ca.key", key.serialize_pem().into_bytes()),
        ("host.json", json(own)?),
        ("members.json", json(&joined.members)?),
        ("revocations.pem", joined.revocations.clone().into_bytes()),
    ])
}

/// Takes host `name` out of the cluster: the list of revocations says so from now on.
///
/// # Errors
///
/// When this host does not keep the CA, or there is no such host.
pub fn revoke(directory: &Directory, name: &HostName) -> Result<Member, PkiError> {
    let authority = directory.authority()?;
    let _one = directory.lock()?;
    let mut members = directory.members()?;
    let others: BTreeSet<String> = members
        .iter()
        .filter(|member| member.revoked_s.is_none() && !member.keeps_ca)
        .map(|member| member.host.to_string())
        .collect();
    let Some(member) = members.iter_mut().find(|member| member.host == *name && member.revoked_s.is_none())
    else {
        let others = if others.is_empty() {
            "there is no other".to_owned()
        } else {
            format!("there is: {}", others.into_iter().collect::<Vec<_>>().join(", "))
        };
        return Err(PkiError::Refused(format!("there is no host `{name}` in the cluster; {others}")));
    };
    if member.keeps_ca {
        return Err(PkiError::Refused(format!(
            "`{name}` keeps the CA: without it the cluster has none. docs/security.md says how to begin with a new one"
        )));
    }
    member.revoked_s = Some(u64::try_from(now().unix_timestamp()).unwrap_or_default());
    let revoked = member.clone();
    let list = revocation::next(&authority, &directory.read("revocations.pem")?, &members)?;
    // The list first: the record alone would let its name be taken while it is still believed.
    directory.replace("revocations.pem", list.as_bytes())?;
    directory.store("members.json", &members)?;
    Ok(revoked)
}

/// The addresses of the other members, for a manager that starts to know them.
///
/// # Errors
///
/// When they cannot be read.
pub fn others(directory: &Directory) -> Result<Vec<IpAddr>, PkiError> {
    let own = directory.own()?;
    let members = directory.members()?;
    let other = |member: &&Member| member.revoked_s.is_none() && member.host != own.host;
    Ok(members.iter().filter(other).map(|member| member.address).collect())
}
