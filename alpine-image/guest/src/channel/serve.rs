//! Answers one host for as long as it is connected.

use std::io::{self, ErrorKind, Read, Write};

use super::lines::{LONGEST_LINE, Line, Lines};
use super::{Ask, Told};
use crate::machine::Machine;

/// Answers line by line until the other side is gone. Whatever it sends is answered, and when it does
/// not stay for the answer, what it asked is done all the same.
///
/// # Errors
///
/// When the port fails.
pub fn serve(port: &mut (impl Read + Write), machine: &mut Machine) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        let length = match port.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for line in lines.feed(&buffer[..length]) {
            let ask = match understand(line) {
                Some(Ok(ask)) => ask,
                Some(Err(reason)) => {
                    tell(port, &Told::Failed { reason })?;
                    continue;
                }
                None => continue,
            };
            let is_end = ask == Ask::Shutdown;
            let told = machine.answer(ask);
            // The machine goes down a moment later, and the channel with it: the answer comes first.
            tell(port, &told)?;
            if is_end
                && told == Told::Done
                && let Err(error) = machine.power_off()
            {
                tell(port, &Told::Failed { reason: error.to_string() })?;
            }
        }
    }
}

/// What a line asks; a blank one asks nothing.
fn understand(line: Line) -> Option<Result<Ask, String>> {
    match line {
        Line::TooLong => Some(Err(format!("a line of more than {LONGEST_LINE} bytes"))),
        Line::Whole(text) if text.trim_ascii().is_empty() => None,
        // Where, but not what: a seed has secrets, and what is answered is logged.
        Line::Whole(text) => Some(serde_json::from_slice(&text).map_err(|error| {
            format!(
                "expected {{\"ask\":\"status\"}} or the like, up to byte {} of {}",
                error.column(),
                text.len()
            )
        })),
    }
}

/// Says one line. Gives whether anybody was there to hear it.
pub(super) fn tell(port: &mut impl Write, told: &Told) -> io::Result<bool> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    match port.write_all(&line).and_then(|()| port.flush()) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(false),
        Err(error) => Err(error),
    }
}
