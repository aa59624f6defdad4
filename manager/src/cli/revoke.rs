//! `manager revoke`: takes a host out of the cluster.

use anyhow::Result;
use clap::Args;

use crate::config::Config;
use crate::pki::enrolment;
use crate::pki::files::Directory;

/// Who is to go.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The host's name.
    host: String,
}

/// From now on nobody believes the host.
///
/// # Errors
///
/// When this host does not keep the CA, or there is no such host.
pub fn revoke(config: &Config, args: &RevokeArgs) -> Result<()> {
    let revoked = enrolment::revoke(&Directory::of(&config.state_dir), &args.host.as_str().into())?;
    println!(
        "`{0}` at {1} is revoked. The manager that runs here tells all others, and these their balancers, within\n\
         seconds; one that is away is told when it is back.\n\nIts machines are sent requests while they answer, as \
         those of any host whose manager is not heard.\n`manager forget {0}` takes them out of the balancers' sets. To let \
         the host in again: remove `pki` from\nits state_dir, and `manager join` with a new token.",
        revoked.host, revoked.address
    );
    Ok(())
}
