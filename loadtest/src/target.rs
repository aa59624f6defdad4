//! What is asked for: one thing, or a weighted list of things from a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use kit::config::Source;
use serde::Deserialize;

use crate::check::Check;

/// The most targets of one run: each is counted apart.
const MAX_TARGETS: usize = 100;
/// The most that a body may have, in bytes.
const MAX_BODY: u64 = 16 << 20;
/// Who we are, where nothing else was asked for.
const USER_AGENT: &str = concat!("loadtest/", env!("CARGO_PKG_VERSION"));

/// The body of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Always these bytes.
    Fixed(Bytes),
    /// A number that no other request of the run has.
    Number,
}

/// One thing that is asked for.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in the report.
    pub name: String,
    /// How often it is asked for, beside the weights of the others.
    pub weight: u32,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: Uri,
    /// The headers, `Host` not among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// What its answers must be.
    pub check: Check,
}

/// What is asked for; without any, the URL.
// As it is written in a scenario, or in a file of targets.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Target"))]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Written {
    /// Its name in the report; method and path where there is none.
    pub name: Option<String>,
    /// How often it is asked for, beside the others; 1 where there is none.
    pub weight: Option<u32>,
    /// The method; GET, or POST where there is a body.
    pub method: Option<String>,
    /// Path and query; those of the URL where there is none.
    pub path: Option<String>,
    /// Headers, each as `NAME: VALUE`.
    pub headers: Vec<String>,
    /// The body.
    pub body: Option<String>,
    /// The file that has the body; one of the two.
    pub body_file: Option<PathBuf>,
    /// A number that no other request has is the body.
    #[serde(skip)]
    pub numbered: bool,
    /// Which statuses count as success; 2xx and 3xx where there are none.
    pub status: Vec<u16>,
    /// What the answer's JSON must have.
    pub json: Option<String>,
    /// What the answer must match.
    pub regex: Option<String>,
}

/// A file of targets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetsFile {
    target: Vec<Written>,
}

impl Written {
    /// What is meant; `path` is that of the URL, files are beside `folder`.
    ///
    /// # Errors
    ///
    /// Says what is wrong and what was expected.
    pub fn meant(&self, path: &str, folder: &Path) -> anyhow::Result<Target> {
        let body = match (&self.body, &self.body_file) {
            (Some(_), Some(_)) => bail!("a body and a file with a body: give one of them"),
            (None, None) if self.numbered => Body::Number,
            (None, None) => Body::Fixed(Bytes::new()),
            (Some(text), None) => Body::Fixed(Bytes::from(text.clone())),
            (None, Some(file)) => {
                let file = folder.join(file);
                let read = kit::config::read_file(&file, MAX_BODY);
                Body::Fixed(Bytes::from(
                    read.map_err(|error| anyhow!("body file {}: {error}", file.display()))?,
                ))
            }
        };
        let has_body = body != Body::Fixed(Bytes::new());
        let method = match &self.method {
            Some(method) => method.parse().with_context(|| format!("`{method}` is no HTTP method"))?,
            None if has_body => Method::POST,
            None => Method::GET,
        };
        let path = self.path.as_deref().unwrap_or(path);
        ensure!(path.starts_with('/'), "path `{path}`: expected one that begins with /");
        let path: Uri = path.parse().with_context(|| format!("path `{path}`"))?;
        let weight = self.weight.unwrap_or(1);
        ensure!(weight > 0, "weight 0: leave out what is not to be asked for");
        Ok(Target {
            name: self.name.clone().unwrap_or_else(|| format!("{method} {path}")),
            weight,
            method,
            path,
            headers: headers(&self.headers)?,
            body,
            check: Check::new(&self.status, self.json.as_deref(), self.regex.as_deref())
                .map_err(anyhow::Error::msg)?,
        })
    }
}

/// Reads a file of targets.
///
/// # Errors
///
/// With file, line and column where it is wrong.
pub fn read(file: &Path, path: &str) -> anyhow::Result<Vec<Target>> {
    let source = Source::read(file)?;
    let TargetsFile { target } = source.parse()?;
    all(&source, &target, path)
}

/// What is meant by the targets written in `source`, under `target`.
///
/// # Errors
///
/// With file, line and column where one is wrong.
pub fn all(source: &Source, written: &[Written], path: &str) -> anyhow::Result<Vec<Target>> {
    let folder = source.path().parent().unwrap_or(Path::new("."));
    let place = |index: usize, error: &anyhow::Error| {
        anyhow::Error::from(source.error_in(&format!("target[{index}]"), &format!("{error:#}")))
    };
    if written.is_empty() || written.len() > MAX_TARGETS {
        let found = format!("{} targets: expected 1 to {MAX_TARGETS} tables [[target]]", written.len());
        return Err(source.error_in("target", &found).into());
    }
    let meant = written.iter().enumerate();
    meant.map(|(index, target)| target.meant(path, folder).map_err(|error| place(index, &error))).collect()
}

fn headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let mut given = HeaderMap::new();
    for line in lines {
        let expected = || format!("`{line}`: expected a header such as `Accept: text/html`");
        let (name, value) = line.split_once(':').with_context(expected)?;
        let name: HeaderName = name.trim().parse().with_context(expected)?;
        given.append(name, value.trim().parse().with_context(expected)?);
    }
    for own in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        ensure!(!given.contains_key(&own), "header `{own}`: loadtest writes it itself");
    }
    // What was given replaces what we would say.
    given.keys().for_each(|name| _ = headers.remove(name));
    for (name, value) in &given {
        headers.append(name, value.clone());
    }
    Ok(headers)
}

/// Which of the targets request `number` asks for: by weight, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Choice {
    seed: u64,
    /// Up to which weight each reaches.
    reach: Vec<u64>,
}

impl Choice {
    /// A choice among these.
    pub fn new(targets: &[Target], seed: u64) -> Self {
        let mut sum = 0;
        let reach = targets.iter().map(|target| {
            sum += u64::from(target.weight);
            sum
        });
        Choice { seed, reach: reach.collect() }
    }

    /// The index of the target.
    pub fn of(&self, number: u64) -> usize {
        let all = self.reach.last().copied().unwrap_or(1);
        if self.reach.len() < 2 {
            return 0;
        }
        let drawn = mixed(self.seed ^ mixed(number)) % all;
        self.reach.partition_point(|reach| *reach <= drawn)
    }
}

/// Steele, Lea and Flood's SplitMix64: each number has its own, and none is kept.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Vec<Target>> {
        let source = Source::from_text("/nowhere/targets.toml", text);
        let TargetsFile { target } = source.parse()?;
        all(&source, &target, "/url?q")
    }

    #[test]
    fn targets_are_what_is_written_and_asked_for_by_weight() {
        let targets = read(
            "[[target]]\nweight = 3\nheaders = [\"accept: text/html\", \"X-A: 1\", \"X-A: 2\"]\n\
             [[target]]\nname = \"write\"\npath = \"/store\"\nbody = \"{}\"\nstatus = [201]\njson = \"$.id\"\n",
        )
        .unwrap();
        let [one, two] = &targets[..] else { panic!("{targets:?}") };
        assert_eq!((one.name.as_str(), &one.method), ("GET /url?q", &Method::GET));
        assert_eq!(one.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(one.headers.get_all("accept").iter().collect::<Vec<_>>(), ["text/html"]);
        assert!(one.headers.contains_key("user-agent"));
        assert_eq!((two.name.as_str(), &two.method, two.path.path()), ("write", &Method::POST, "/store"));
        let choice = Choice::new(&targets, 5);
        let first = (0..10_000).filter(|number| choice.of(*number) == 0).count();
        assert!((7300..7700).contains(&first), "{first}");
        assert_eq!(Choice::new(&targets, 5).of(77), choice.of(77));
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_stands() {
        for (text, expected) in [
            ("[[target]]\nwieght = 3\n", "targets.toml:2:1: unknown field `wieght`"),
            ("[[target]]\nwieght = 3\n", "did you mean `weight`?"),
            ("[[target]]\npath = \"x\"\n", "targets.toml:1:1: path `x`: expected one that begins with /"),
            ("[[target]]\n[[target]]\nweight = 0\n", "targets.toml:2:1: weight 0"),
            ("[[target]]\nheaders = [\"nothing\"]\n", "such as `Accept: text/html`"),
            ("[[target]]\nheaders = [\"Connection: close\"]\n", "writes it itself"),
            ("[[target]]\nbody = \"a\"\nbody-file = \"b\"\n", "give one of them"),
            ("[[target]]\nbody-file = \"b\"\n", "body file /nowhere/b"),
            ("[[target]]\nmethod = \"G T\"\n", "no HTTP method"),
            ("target = []\n", "expected 1 to 100"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
