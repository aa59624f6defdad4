//! Other people's programs that connect to us.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// How long one of them may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What one of them said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Whether it said so, wherever.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.out.contains(text) || self.err.contains(text)
    }
}

/// What `program` says when it is given `input`.
pub(crate) async fn run(program: &str, arguments: &[&str], input: &str) -> Said {
    use tokio::io::AsyncWriteExt as _;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    // It may have ended before it read all, which its own words tell of.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let Output { status, stdout, stderr } = output.expect("it ends in time").expect("its output");
    Said {
        ok: status.success(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// curl, which believes `ca`, asks for `https://name/path` at `at`. Its answer's head is part of the output.
pub(crate) async fn curl(ca: &Path, name: &str, at: SocketAddr, path: &str, more: &[&str]) -> Said {
    let url = format!("https://{name}:{}{path}", at.port());
    let resolve = format!("{name}:{}:{}", at.port(), at.ip());
    let ca = ca.to_str().expect("text");
    let mut arguments = vec!["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "20"];
    arguments.extend(["--resolve", &resolve, "--cacert", ca]);
    arguments.extend(more);
    arguments.push(&url);
    run("curl", &arguments, "").await
}

/// `openssl s_client`, which believes `ca`, connects to `at` and asks for `name`, if there is one; it sends one
/// request.
pub(crate) async fn s_client(ca: &Path, name: &str, at: SocketAddr, more: &[&str]) -> Said {
    let at = at.to_string();
    let ca = ca.to_str().expect("text");
    let mut arguments = vec!["s_client", "-connect", &at, "-CAfile", ca, "-verify_return_error", "-ign_eof"];
    if !name.is_empty() {
        arguments.extend(["-servername", name, "-verify_hostname", name]);
    }
    arguments.extend(more);
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    run("openssl", &arguments, &request).await
}

/// Any other command of openssl's, which must succeed.
pub(crate) async fn openssl(arguments: &[&str]) -> Said {
    let said = run("openssl", arguments, "").await;
    assert!(said.ok, "{arguments:?}: {said:?}");
    said
}
