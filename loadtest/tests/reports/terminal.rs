//! What a terminal shows, and how it is left.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::truth::Truth;

/// How a run on a terminal ended.
struct Shown {
    code: Option<i32>,
    text: String,
    before: Termios,
    after: Termios,
}

/// Runs with standard error on a terminal; sends `signal` once the view was drawn.
fn run_on_terminal(kind: &str, options: &[&str], signal: Option<Signal>) -> Shown {
    let truth = Truth::ok();
    let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
    let before = tcgetattr(&slave).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg(&truth.url)
        .args(options)
        .env("TERM", kind)
        .env_remove("NO_COLOR")
        .stdout(Stdio::null())
        .stderr(slave.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut terminal = File::from(master);
    let mut shown = Vec::new();
    let mut part = [0; 4096];
    let mut signal = signal;
    while child.try_wait().unwrap().is_none() {
        // The slave that we hold keeps the terminal open, so a read waits for what is still written.
        if nix::poll::poll(
            &mut [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&terminal), nix::poll::PollFlags::POLLIN)],
            100_u16,
        )
        .unwrap()
            > 0
        {
            let length = terminal.read(&mut part).unwrap();
            shown.extend_from_slice(&part[..length]);
        }
        if String::from_utf8_lossy(&shown).contains(" s left")
            && let Some(signal) = signal.take()
        {
            kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        }
    }
    let after = tcgetattr(&slave).unwrap();
    drop(slave);
    // Ends with an error once everything was read.
    let _ = terminal.read_to_end(&mut shown);
    let code = child.wait().unwrap().code();
    Shown { code, text: String::from_utf8(shown).unwrap(), before, after }
}

const LINE_IS_CLEARED: &str = "\x1b[2K";

#[test]
fn a_terminal_shows_the_run_and_is_left_as_it_was() {
    let fault = "exec:echo '{\"fault\": \"break it\"}' @700ms";
    let shown = run_on_terminal(
        "xterm",
        &["--rate", "20", "--duration", "2s", "--timeout", "2s", "--fault", fault],
        None,
    );
    assert!(matches!(shown.code, Some(0 | 3)), "{}", shown.text);
    for expected in [" s left", "answered", "█", "latency", "99 in 100 are below", "▲", "1: break it"] {
        assert!(shown.text.contains(expected), "{expected}: {}", shown.text);
    }
    assert!(shown.text.contains("  break it\r\n"), "the fault's line stays: {}", shown.text);
    let last = shown.text.rfind("latency").unwrap();
    assert!(
        shown.text[last..].contains(LINE_IS_CLEARED),
        "the view is taken away: {:?}",
        &shown.text[last..]
    );
    assert!(
        !shown.text.contains("\x1b[?25l") && !shown.text.contains("\x1b[?1049h"),
        "no hidden cursor, no other screen"
    );
    assert_eq!(shown.before, shown.after);
}

#[test]
fn an_interrupted_run_leaves_the_terminal_as_it_was() {
    let shown = run_on_terminal("xterm", &["--rate", "50", "--duration", "100s"], Some(Signal::SIGINT));
    assert_eq!(shown.code, Some(130), "{}", shown.text);
    let last = shown.text.rfind("latency").unwrap();
    assert!(shown.text[last..].contains(LINE_IS_CLEARED), "{:?}", &shown.text[last..]);
    assert_eq!(shown.before, shown.after);
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let fault = "exec:echo '{\"fault\": \"break it\"}' @100ms";
    let shown = run_on_terminal(
        "dumb",
        &["--rate", "20", "--duration", "500ms", "--timeout", "1s", "--fault", fault],
        None,
    );
    assert!(matches!(shown.code, Some(0 | 3)), "{}", shown.text);
    assert!(shown.text.contains("break it\r\n") && !shown.text.contains('\x1b'), "{:?}", shown.text);
}
