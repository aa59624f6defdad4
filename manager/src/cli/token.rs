//! `manager token`: invites a host.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{Output, Usage};
use crate::config::Config;
use crate::pki::authority::fingerprint;
use crate::pki::files::Directory;
use crate::pki::tokens::{MAX_TTL, Tokens};

/// What can be asked for.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// How long the token is good, such as 15m or 2h; a week at the most.
    #[arg(long, default_value = "15m", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

/// Prints a token that lets one host in, once. It goes to standard output alone, the explanation beside it.
///
/// # Errors
///
/// When this host does not keep the CA.
#[allow(clippy::print_stderr)]
pub fn token(config: &Config, args: &TokenArgs, output: Output) -> Result<()> {
    if args.ttl.is_zero() || args.ttl > MAX_TTL {
        return Err(Usage::new("--ttl: expected more than nothing and at most 7days").into());
    }
    let directory = Directory::of(&config.state_dir);
    let authority = directory.authority()?;
    let token = Tokens::of(&directory).create(fingerprint(authority.certificate())?, args.ttl)?;
    match output {
        Output::Json | Output::Yaml => {
            let value = serde_json::json!({ "token": token.to_string(), "ttl_s": args.ttl.as_secs() });
            super::print::line(&output.text(&value, ToString::to_string)?)?;
        }
        Output::Table | Output::Wide => {
            eprintln!(
                "Good for one host within {}. On that host: manager join {} TOKEN",
                humantime::format_duration(args.ttl),
                config.address
            );
            println!("{token}");
        }
    }
    Ok(())
}
