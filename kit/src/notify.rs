//! `[[notify]]`: whom a balancer tells of every change of a public address. It is written in the manager's
//! configuration, which hands it on, and in the balancer's own settings: one rule for both, or a manager would
//! take what its balancer then refuses to start with.

use std::path::PathBuf;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Source, Spanned};

/// The most `[[notify]]`.
pub const MAX_NOTIFIES: usize = 16;

/// Whom to tell of every change of a virtual router. Written again, it is what [`NotifyFile`] reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Notify {
    /// A program in the balancer's machine, to run with the arguments VRID ADDRESS STATE HOLDER.
    Command(PathBuf),
    /// An address to POST a JSON object to.
    Url(String),
}

/// Who is told of every change of a public address: either a program or a URL. At most 16.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyFile {
    /// The absolute path of a program in the balancer's machine, to run with the arguments VRID ADDRESS STATE HOLDER.
    #[serde(default)]
    command: Option<Spanned<PathBuf>>,
    /// A URL of http to POST a JSON object to.
    #[serde(default)]
    url: Option<Spanned<String>>,
}

/// All `[[notify]]` of `source`, checked.
///
/// # Errors
///
/// At the first that cannot be told, and at the one after [`MAX_NOTIFIES`].
pub fn check_notifies(source: &Source, files: Vec<Spanned<NotifyFile>>) -> Result<Vec<Notify>, ConfigError> {
    if let Some(beyond) = files.get(MAX_NOTIFIES) {
        let message = format!("expected at most {MAX_NOTIFIES} [[notify]]");
        return Err(source.error_at(Some(beyond.span()), &message));
    }
    files.into_iter().map(|file| NotifyFile::check(file, source)).collect()
}

impl NotifyFile {
    fn check(file: Spanned<Self>, source: &Source) -> Result<Notify, ConfigError> {
        let span = file.span();
        match file.into_inner() {
            NotifyFile { command: Some(command), url: None } => {
                if !command.as_ref().is_absolute() {
                    let message = "expected the absolute path of a program in the balancer's machine, without arguments";
                    return Err(source.error_at(Some(command.span()), message));
                }
                Ok(Notify::Command(command.into_inner()))
            }
            NotifyFile { command: None, url: Some(url) } => {
                if !is_spoken(url.as_ref()) {
                    let message = "expected a URL such as http://192.168.10.1:9000/vip (https is not spoken)";
                    return Err(source.error_at(Some(url.span()), message));
                }
                Ok(Notify::Url(url.into_inner()))
            }
            _ => Err(source.error_at(Some(span), "expected either `command` or `url`")),
        }
    }
}

/// Whether `url` is one that is asked: of plain HTTP, with a host.
pub fn is_spoken(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    url.scheme_str() == Some("http") && url.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        notify: Vec<Spanned<NotifyFile>>,
    }

    #[derive(Serialize)]
    struct Written {
        notify: Vec<Notify>,
    }

    fn check(text: &str) -> Result<Vec<Notify>, String> {
        let source = Source::from_text("x.toml", text);
        let file: File = source.parse().map_err(|error| error.to_string())?;
        check_notifies(&source, file.notify).map_err(|error| error.to_string())
    }

    #[test]
    fn what_one_writes_the_other_reads() {
        let notify =
            vec![Notify::Command("/bin/true".into()), Notify::Url("http://[fd00::1]:9000/vip".to_owned())];
        let text = toml::to_string(&Written { notify: notify.clone() }).expect("TOML");
        assert_eq!(
            text,
            "[[notify]]\ncommand = \"/bin/true\"\n\n[[notify]]\nurl = \"http://[fd00::1]:9000/vip\"\n"
        );
        assert_eq!(check(&text), Ok(notify));
    }

    #[test]
    fn whom_nobody_could_tell_is_pointed_at() {
        let cases = [
            ("", "x.toml:1:1: expected either `command` or `url`"),
            ("command = \"/a\"\nurl = \"http://a/\"", "x.toml:1:1: expected either"),
            ("command = \"notify\"", "x.toml:2:11: expected the absolute path"),
            ("command = \"\"", "x.toml:2:11: expected the absolute path"),
            ("url = \"https://10.0.0.1/\"", "x.toml:2:7: expected a URL"),
            ("url = \"http://\"", "x.toml:2:7: expected a URL"),
            ("url = \"http:///vip\"", "x.toml:2:7: expected a URL"),
            ("url = \"http://:9000/vip\"", "x.toml:2:7: expected a URL"),
            ("url = \"/vip\"", "x.toml:2:7: expected a URL"),
            ("url = \"10.0.0.1:9000\"", "x.toml:2:7: expected a URL"),
            ("uri = \"http://10.0.0.1/\"", "x.toml:2:1: unknown field `uri`"),
        ];
        for (text, expected) in cases {
            let error = check(&format!("[[notify]]\n{text}\n")).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let one = "[[notify]]\nurl = \"http://10.0.0.1/\"\n";
        assert_eq!(check(&one.repeat(MAX_NOTIFIES)).map(|all| all.len()), Ok(MAX_NOTIFIES));
        let error = check(&one.repeat(MAX_NOTIFIES + 1)).expect_err("one too many");
        assert!(error.starts_with("x.toml:33:1: expected at most 16 [[notify]]"), "{error}");
    }
}
