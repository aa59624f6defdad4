//! `manager support-dump`: what somebody who is to help wants to see, in one file, without what must stay secret.
//!
//! What cannot be had is no reason to have nothing: the archive then says why, in place of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::Client;
use super::client::Usage;
use super::print::line;
use crate::access::{unix_ms, unix_s};

/// What `manager support-dump` takes.
#[derive(clap::Args, Debug)]
pub struct DumpArgs {
    /// The file, a gzipped tar archive; `holdfast-HOST-TIME.tar.gz` here where none is named.
    file: Option<PathBuf>,
}

/// What the manager is asked.
const QUESTIONS: [&str; 8] =
    ["/cluster", "/vms", "/addresses", "/state", "/events/history", "/traffic", "/maintenance", "/metrics"];

/// What the host is asked, by programs that most hosts have.
const COMMANDS: [&[&str]; 7] = [
    &["uname", "-a"],
    &["ip", "-br", "link"],
    &["ip", "-br", "address"],
    &["ip", "route"],
    &["ip", "neighbour"],
    &["bridge", "link"],
    &["virsh", "list", "--all"],
];

/// Keys whose values are nobody's business, wherever they stand.
const SECRET: [&str; 7] = ["token", "secret", "password", "passwd", "private", "credential", "hmac"];

/// What stands in place of a secret.
const HIDDEN: &str = "(left out)";

impl Client {
    /// `manager support-dump`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn dump(&self, args: &DumpArgs, config: &Path) -> Result<()> {
        let mut archive = Archive::default();
        archive.add("version", env!("CARGO_PKG_VERSION"));
        match fs::read_to_string(config) {
            Ok(text) => archive.add("manager.toml", &without_secrets(&text)),
            Err(error) => archive.add("manager.toml", &format!("{}: {error}", config.display())),
        }
        let mut host = None;
        for path in QUESTIONS {
            let answer = self.text(path).unwrap_or_else(|error| format!("{error:#}"));
            let json = serde_json::from_str::<Value>(&answer).ok();
            if path == "/cluster" {
                host = json.as_ref().and_then(|view| Some(view.get("host")?.as_str()?.to_owned()));
            }
            let name = path.trim_start_matches('/').replace('/', "-");
            match json {
                Some(mut json) => {
                    hide(&mut json);
                    archive.add(&format!("{name}.json"), &serde_json::to_string_pretty(&json)?);
                }
                None => archive.add(&format!("{name}.txt"), &without_secrets(&answer)),
            }
        }
        for machine in self.machine_names() {
            let path = format!("{}/logs", super::client::path_of("/vms", &machine));
            let log = self.text(&path).unwrap_or_else(|error| format!("{error:#}"));
            archive.add(&format!("console/{machine}.log"), &without_secrets(&log));
        }
        for words in COMMANDS {
            let name: Vec<&str> = words.iter().filter(|word| !word.starts_with('-')).copied().collect();
            archive.add(&format!("host/{}.txt", name.join("-")), &without_secrets(&output(words)));
        }
        let file = args.file.clone().unwrap_or_else(|| {
            PathBuf::from(format!("holdfast-{}-{}.tar.gz", host.as_deref().unwrap_or("unknown"), unix_s()))
        });
        archive.write(&file)?;
        let text =
            format!("{}: {} files; look through it before you give it away", file.display(), archive.0.len());
        line(&self.output().text(&file, |_| text)?)
    }

    fn machine_names(&self) -> Vec<String> {
        let machines = self.text("/vms").ok().and_then(|text| serde_json::from_str::<Vec<Value>>(&text).ok());
        let names = machines.unwrap_or_default().into_iter();
        names.filter_map(|machine| Some(machine.get("id")?.as_str()?.to_owned())).collect()
    }
}

/// What a command prints, or why it does not.
fn output(words: &[&str]) -> String {
    match Command::new(words[0]).args(&words[1..]).output() {
        Ok(done) => String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(),
        Err(error) => format!("{}: {error}", words[0]),
    }
}

/// The files of an archive.
#[derive(Default)]
struct Archive(Vec<(String, String)>);

impl Archive {
    fn add(&mut self, name: &str, content: &str) {
        self.0.push((name.to_owned(), content.to_owned()));
    }

    /// A new file that only its owner can read.
    fn write(&self, file: &Path) -> Result<()> {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let created = created.with_context(|| {
            Usage::new(&format!("{} cannot be made; name a file that is not there yet", file.display()))
        })?;
        let mut archive = tar::Builder::new(GzEncoder::new(created, Compression::default()));
        for (name, content) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(unix_ms() / 1000);
            archive.append_data(&mut header, format!("holdfast/{name}"), content.as_bytes())?;
        }
        archive.into_inner()?.finish()?.flush()?;
        Ok(())
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|secret| key.contains(secret)) && !key.ends_with("_file")
}

/// Takes the secrets out of a document.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                if is_secret(key) && !value.is_boolean() && !value.is_null() {
                    *value = Value::String(HIDDEN.to_owned());
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::String(text) => *text = without_secrets(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Takes the secrets out of a text: keys in PEM, values of keys that sound like secrets, and what follows `Bearer`.
fn without_secrets(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----") {
            in_key = true;
            kept.push_str(HIDDEN);
            kept.push('\n');
        }
        if !in_key {
            kept.push_str(&without_secret(line));
        }
        if line.contains("-----END ") {
            in_key = false;
        }
    }
    kept
}

fn without_secret(line: &str) -> String {
    if let Some((before, _)) = line.split_once("Bearer ") {
        return format!("{before}Bearer {HIDDEN}\n");
    }
    let assigned =
        line.split_once(['=', ':']).filter(|(key, value)| is_secret(key) && !value.trim().is_empty());
    match assigned {
        // A metric's name is no secret, and neither is its value.
        Some((key, _)) if !key.contains('{') && !key.starts_with('#') => {
            format!("{key}{}{HIDDEN}\n", &line[key.len()..=key.len()])
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_here() {
        let text = "name = \"a\"\ntoken = \"hunter2\"\nAuthorization: Bearer hunter2\n\
            -----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----\nlast = 1\n";
        let kept = without_secrets(text);
        assert!(!kept.contains("hunter2"), "{kept}");
        assert!(kept.contains("name = \"a\"\n") && kept.ends_with("last = 1\n"), "{kept}");
        let mut json =
            serde_json::json!({ "a": [{ "shared_secret": "hunter2" }], "text": "secret: hunter2", "n": 1 });
        hide(&mut json);
        assert!(!json.to_string().contains("hunter2"), "{json}");
        assert_eq!(json["n"], 1);
    }
}
