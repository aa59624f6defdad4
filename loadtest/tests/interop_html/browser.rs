//! Chromium, without a window.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::scratch;

/// Which of the two the reader prefers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scheme {
    Dark,
    Light,
}

/// What it prints for a file, as wide as a phone.
pub(crate) fn document_of(file: &Path) -> String {
    chromium(file, &["--window-size=500,900", "--dump-dom"])
}

/// A picture of a file; it is kept beside the other results of tests, for whoever wants to look.
pub(crate) fn picture_of(file: &Path, (width, height): (u32, u32), scheme: Scheme) -> Vec<u8> {
    let name = format!("report-{scheme:?}.png").to_lowercase();
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let preferred = match scheme {
        Scheme::Dark => 0,
        Scheme::Light => 1,
    };
    chromium(
        file,
        &[
            &format!("--window-size={width},{height}"),
            &format!("--blink-settings=preferredColorScheme={preferred}"),
            &format!("--screenshot={}", picture.display()),
        ],
    );
    let bytes = fs::read(&picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"), "{}", picture.display());
    // The header's first fields (PNG, third edition, 11.2.1).
    assert_eq!((&bytes[16..20], &bytes[20..24]), (&width.to_be_bytes()[..], &height.to_be_bytes()[..]));
    bytes
}

fn chromium(file: &Path, options: &[&str]) -> String {
    let profile = scratch("profile");
    // Root has no sandbox there, and the only page is ours. Names of hosts lead nowhere.
    let output = Command::new("timeout")
        .args(["100", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(options)
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("chromium, which deploy/test.sh interop installs");
    let _ = fs::remove_dir_all(profile);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
