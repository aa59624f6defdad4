//! Has `nft` do what is said in its language: one call, one transaction. It is the program of those who keep nf_tables in
//! the kernel; there is no library of it under a licence of ours.

use std::fmt;
use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Where it is looked for, in this order: services are often started without the directories of administrators.
const PROGRAMS: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// As much is told of what it says is wrong.
const MOST_TOLD: usize = 400;

/// Why it did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no such program.
    Missing,
    /// We may not.
    Forbidden,
    /// What is to be changed is not there: for one, another balancer has taken over.
    Absent(String),
    /// Anything else, in its words.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Missing => f.write_str("there is no program `nft`: install the package nftables"),
            Failure::Forbidden => {
                f.write_str("the kernel's rules may not be changed: it needs CAP_NET_ADMIN")
            }
            Failure::Absent(words) | Failure::Other(words) => write!(f, "nft: {words}"),
        }
    }
}

/// Does all of `transaction`, or nothing. Blocks for some milliseconds.
///
/// # Errors
///
/// Why nothing was done.
pub(super) fn apply(transaction: &str) -> Result<(), Failure> {
    call(&["-f", "-"], transaction).map(drop)
}

/// What there is of `what`, such as `counters table inet holdfast`, as nft's JSON has it (libnftables-json(5)).
///
/// # Errors
///
/// Why it cannot be said.
pub(super) fn list(what: &str) -> Result<Vec<Value>, Failure> {
    let words: Vec<_> = ["-j", "list"].into_iter().chain(what.split(' ')).collect();
    let said = call(&words, "")?;
    let mut said: Value =
        serde_json::from_slice(&said).map_err(|error| Failure::Other(format!("not its JSON: {error}")))?;
    match said["nftables"].take() {
        Value::Array(all) => Ok(all),
        _ => Err(Failure::Other("not its JSON".to_owned())),
    }
}

fn call(words: &[&str], input: &str) -> Result<Vec<u8>, Failure> {
    for program in PROGRAMS {
        match run(program, words, input) {
            Ok(output) if output.status.success() => return Ok(output.stdout),
            Ok(output) => return Err(understood(&String::from_utf8_lossy(&output.stderr))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::Other(error.to_string())),
        }
    }
    Err(Failure::Missing)
}

fn run(program: &str, words: &[&str], input: &str) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What it says is looked at.
    let mut child = command.env("LC_ALL", "C").spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // It reads all before it says anything. One that does not has its reasons, which it says.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

fn understood(said: &str) -> Failure {
    let mut words = said.lines().find(|line| line.contains("Error")).unwrap_or(said).trim().to_owned();
    if let Some((end, _)) = words.char_indices().nth(MOST_TOLD) {
        words.truncate(end);
    }
    if said.contains("Operation not permitted") {
        Failure::Forbidden
    } else if words.contains("No such file or directory") {
        Failure::Absent(words)
    } else {
        Failure::Other(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_apart() {
        let absent = "/dev/stdin:1:18-25: Error: Could not process rule: No such file or directory\nflush chain a\n  ^^^\n";
        assert!(matches!(understood(absent), Failure::Absent(_)));
        let forbidden =
            "Operation not permitted (you must be root)\nnetlink: Error: cache initialization failed";
        assert_eq!(understood(forbidden), Failure::Forbidden);
        let other = "/dev/stdin:1:1-3: Error: syntax error\nabc";
        assert_eq!(understood(other), Failure::Other("/dev/stdin:1:1-3: Error: syntax error".to_owned()));
        assert_eq!(understood(&"x".repeat(1_000)), Failure::Other("x".repeat(MOST_TOLD)));
    }
}
