//! `manager init`: makes the cluster, with this host as its first.

use anyhow::Result;
use clap::Args;

use crate::config::Config;
use crate::pki::authority::fingerprint;
use crate::pki::enrolment;
use crate::pki::files::Directory;

/// How.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// On the host that keeps the CA: certify it anew, because its address or its pool has changed in the
    /// configuration.
    #[arg(long)]
    recertify: bool,
}

/// Makes the cluster's CA and this host's certificates; where they are already, says so and changes nothing.
///
/// # Errors
///
/// When they cannot be made or read.
pub fn init(config: &Config, args: &InitArgs) -> Result<()> {
    let directory = Directory::of(&config.state_dir);
    if args.recertify {
        enrolment::recertify(config)?;
        println!(
            "`{0}` is certified for {1} and {2}. Restart its manager, then: manager vm replace {0}-lb",
            config.name,
            config.address,
            config.pool.to_texts().join(", ")
        );
        return Ok(());
    }
    if directory.exists() {
        let (ca, own) = (directory.read("ca.pem")?, directory.own()?);
        let role = match directory.find("ca.key")? {
            Some(_) => "keeps its CA",
            None => "has joined it; the CA's key is on another host",
        };
        println!(
            "This host belongs to a cluster already: nothing was changed.\n\n  host         {} ({role})\n  CA           \
             {}\n  files        {}\n  members      {}",
            own.host,
            fingerprint(&ca)?,
            directory.path("").display(),
            names(&directory)?
        );
        return Ok(());
    }
    let ca = enrolment::found(config)?;
    println!(
        "The cluster has its CA, and `{}` is its first host.\n\n  CA           {ca}\n  files        {}\n\nA manager that \
         runs here takes the certificates up within a second; from then on it\nbelieves other hosts by certificate \
         only. Let each of them in:\n\n  here:        manager token\n  there:       manager join {} TOKEN\n\n{} is the \
         one thing that cannot be made again: keep a copy in a safe place.\nA balancer that runs already has no \
         certificate yet: `manager vm replace {}-lb` gives it one.",
        config.name,
        directory.path("").display(),
        config.address,
        directory.path("ca.key").display(),
        config.name
    );
    Ok(())
}

fn names(directory: &Directory) -> Result<String> {
    let members = directory.members()?;
    let names: Vec<String> = members
        .iter()
        .map(|member| match member.revoked_s {
            None => member.host.to_string(),
            Some(_) => format!("{} (revoked)", member.host),
        })
        .collect();
    Ok(names.join(", "))
}
