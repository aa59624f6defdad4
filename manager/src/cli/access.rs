//! `manager access`, `manager audit` and `manager maintenance`.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, Subcommand};
use reqwest::Method;
use wire::access::{AuditEntry, CreateToken, MaintenanceOrder, MaintenanceView, NewToken, Scope, TokenView};

use super::client::{Client, path_of};
use super::print::table;

/// What can be done about access from elsewhere.
#[derive(Subcommand, Debug)]
pub enum AccessCommand {
    /// Make a token. Its secret is shown this once.
    Create {
        /// What it is called.
        name: String,
        /// What it allows: read, operate (which includes read) and chaos (harming machines), with commas.
        #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
        scope: Vec<Scope>,
        /// How long it is good for, such as 30d; for ever without it.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
    },
    /// List the tokens, without their secrets.
    List,
    /// Make a token worthless, at once and for good.
    Revoke {
        /// What it is called.
        name: String,
    },
}

/// How much of the audit log is shown.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// The newest so many entries.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 30)]
    count: usize,
}

/// Whether the manager only watches.
#[derive(Subcommand, Debug)]
pub enum MaintenanceCommand {
    /// Observe, report, do nothing: no machine is made, stopped or replaced until it is off again.
    On {
        /// It ends by itself after this, such as 2h.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        lasts: Option<Duration>,
    },
    /// Keep machines again.
    Off,
    /// Say whether it is on.
    Show,
}

impl Client {
    /// `manager access …`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn access(&self, command: &AccessCommand) -> Result<()> {
        match command {
            AccessCommand::Create { name, scope, expires } => {
                let order = CreateToken {
                    name: name.clone(),
                    scopes: scope.iter().copied().collect(),
                    expires_in_s: expires.map(|expires| expires.as_secs()),
                };
                let made: NewToken = self.ask(Method::POST, "/access/tokens", Some(&order))?;
                self.print(&made, |made| {
                    format!(
                        "{}\n\nThis is shown once. Use it over https only, as HOLDFAST_TOKEN or as Authorization: \
                         Bearer. {}",
                        made.secret,
                        until(&made.token)
                    )
                })
            }
            AccessCommand::List => {
                let tokens: Vec<TokenView> = self.ask(Method::GET, "/access/tokens", None::<&()>)?;
                self.print(&tokens, |tokens| tokens_table(tokens))
            }
            AccessCommand::Revoke { name } => {
                let path = path_of("/access/tokens", name);
                let token: TokenView = self.ask(Method::DELETE, &path, None::<&()>)?;
                self.print(&token, |token| format!("{} allows nothing any more", token.name))
            }
        }
    }

    /// `manager audit`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn audit(&self, args: &AuditArgs) -> Result<()> {
        let path = format!("/audit?count={}", args.count);
        let entries: Vec<AuditEntry> = self.ask(Method::GET, &path, None::<&()>)?;
        self.print(&entries, |entries| audit_table(entries))
    }

    /// `manager maintenance …`.
    ///
    /// # Errors
    ///
    /// What the manager refused, in its words.
    pub fn maintenance(&self, command: &MaintenanceCommand) -> Result<()> {
        let order = match command {
            MaintenanceCommand::Show => None,
            MaintenanceCommand::Off => Some(MaintenanceOrder { on: false, for_s: None }),
            MaintenanceCommand::On { lasts } => {
                Some(MaintenanceOrder { on: true, for_s: lasts.map(|lasts| lasts.as_secs()) })
            }
        };
        let view: MaintenanceView = match order {
            None => self.ask(Method::GET, "/maintenance", None::<&()>)?,
            Some(order) => self.ask(Method::PUT, "/maintenance", Some(&order))?,
        };
        self.print(&view, |view| match (view.on, view.until_unix_ms) {
            (false, _) => "Maintenance is off: machines are kept.".to_owned(),
            (true, None) => {
                "Maintenance is on until `manager maintenance off`: machines are left alone.".to_owned()
            }
            (true, Some(until)) => {
                format!("Maintenance is on until {}: machines are left alone.", date(until / 1000))
            }
        })
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let all = [Scope::Read, Scope::Operate, Scope::Chaos];
    let found = all.into_iter().find(|scope| scope.to_string() == text);
    found.ok_or_else(|| "expected read, operate or chaos".to_owned())
}

fn until(token: &TokenView) -> String {
    match token.expires_unix_s {
        None => "It never expires.".to_owned(),
        Some(end) => format!("It expires at {}.", date(end)),
    }
}

fn tokens_table(tokens: &[TokenView]) -> String {
    let mut rows = table(&["NAME", "SCOPE", "CREATED", "LAST USED", "EXPIRES"]);
    for token in tokens {
        let scopes: Vec<String> = token.scopes.iter().map(Scope::to_string).collect();
        let expires = match token.expires_unix_s {
            None => "never".to_owned(),
            Some(_) if token.expired => "expired".to_owned(),
            Some(end) => date(end),
        };
        let used = token.last_used_unix_s.map_or_else(|| "never".to_owned(), date);
        rows.add_row([token.name.clone(), scopes.join(","), date(token.created_unix_s), used, expires]);
    }
    rows.to_string()
}

fn audit_table(entries: &[AuditEntry]) -> String {
    let mut rows = table(&["WHEN", "WHO", "WHAT", "STATUS", "DETAILS"]);
    for entry in entries {
        let mut details: Vec<String> = entry.body.iter().chain(&entry.refused).cloned().collect();
        if entry.unlisted > 0 {
            details.push(format!("({} refused before this one are not listed)", entry.unlisted));
        }
        // Strangers wrote some of this, and terminals obey.
        let details: String =
            details.join(", ").chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        rows.add_row([
            date(entry.unix_ms / 1000),
            entry.who.clone(),
            format!("{} {}", entry.method, entry.path),
            entry.status.to_string(),
            details,
        ]);
    }
    rows.to_string()
}

fn date(unix_s: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s)).to_string()
}
