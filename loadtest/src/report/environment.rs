//! What a run ran on and how it was called: without it figures cannot be compared or repeated.

use std::fs;
use std::thread::available_parallelism;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run ran on, and how it was called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// This program's version.
    pub version: String,
    /// The command line. Values of headers that prove who somebody is are left out.
    pub command: Vec<String>,
    /// The processor's model; none where the kernel does not say.
    pub cpu: Option<String>,
    /// How many processors this program could use.
    pub cpus: Option<u64>,
    /// The kernel and its release.
    pub kernel: String,
    /// What all that was random in the run was made from; none if nothing was.
    pub seed: Option<u64>,
}

impl Environment {
    /// That of this process.
    pub fn here(seed: Option<u64>) -> Self {
        let kernel = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
            text.trim().to_owned()
        };
        Environment {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: std::env::args_os().map(|word| presentable(&word.to_string_lossy())).collect(),
            cpu: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_model(&text)),
            cpus: available_parallelism().ok().map(|count| count.get() as u64),
            kernel: format!("{} {}", kernel("ostype"), kernel("osrelease")).trim().to_owned(),
            seed,
        }
    }

    /// The command line as one would type it.
    pub fn command_line(&self) -> String {
        self.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    // x86 says `model name`; some ARM boards say `Model`.
    let of = |key: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    of("model name").or_else(|| of("Model")).filter(|model| !model.is_empty())
}

/// Headers whose values are secrets; reports are passed on.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"];

fn presentable(word: &str) -> String {
    let Some((name, _)) = word.split_once(':') else { return word.to_owned() };
    let header = name.rsplit('=').next().unwrap_or(name).trim_start_matches("-H").trim();
    if SECRET_HEADERS.iter().any(|secret| header.eq_ignore_ascii_case(secret)) {
        format!("{name}: (left out)")
    } else {
        word.to_owned()
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_and_words_are_quoted() {
        for (word, shown) in [
            ("Authorization: Bearer abc", "Authorization: (left out)"),
            ("--header=cookie:a=b", "--header=cookie: (left out)"),
            ("-HX-Api-Key: 7", "-HX-Api-Key: (left out)"),
            ("http://127.0.0.1:80/?a=authorization:1", "http://127.0.0.1:80/?a=authorization:1"),
            ("exec:true @5s", "exec:true @5s"),
        ] {
            assert_eq!(presentable(word), shown);
        }
        let command = ["loadtest", "kill a @5s", "it's", ""].map(str::to_owned).to_vec();
        let environment = Environment { command, ..Default::default() };
        assert_eq!(environment.command_line(), r"loadtest 'kill a @5s' 'it'\''s' ''");
    }

    #[test]
    fn the_processor_is_named() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some Processor @ 2 GHz\nflags: a b\n";
        assert_eq!(cpu_model(cpuinfo).unwrap(), "Some Processor @ 2 GHz");
        assert_eq!(cpu_model("nothing"), None);
        let here = Environment::here(Some(7));
        assert!(here.kernel.starts_with("Linux ") && here.cpus > Some(0) && !here.command.is_empty());
    }
}
