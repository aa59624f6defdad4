//! Which failure an error is.

use std::error::Error;
use std::io::{self, ErrorKind};

use crate::count::Failure;

/// An error while connecting.
pub(super) fn of_connect(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Failure::Unreachable
        }
        ErrorKind::TimedOut => Failure::ConnectTimeout,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Failure::Reset,
        // No descriptors, ports or memory left here: the service was not even asked.
        _ => Failure::NotSent,
    }
}

/// An error between sending a request and the head of its answer.
pub(super) fn of_exchange(error: &hyper::Error) -> Failure {
    match io_kind(error) {
        Some(kind) => of_io(kind).unwrap_or(Failure::Protocol),
        None if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => Failure::Eof,
        None => Failure::Protocol,
    }
}

/// An error in the body of an answer.
pub(super) fn of_body(error: &hyper::Error) -> Failure {
    match io_kind(error) {
        Some(ErrorKind::UnexpectedEof) => Failure::ShortBody,
        Some(kind) => of_io(kind).unwrap_or(Failure::Protocol),
        None if error.is_parse() => Failure::Protocol,
        None => Failure::ShortBody,
    }
}

/// An error of HTTP/2.
pub(super) fn of_http2(error: &h2::Error) -> Failure {
    match error.get_io() {
        Some(error) => of_io(error.kind()).unwrap_or(Failure::Protocol),
        None if error.is_go_away() => Failure::Eof,
        None if error.is_reset() => Failure::Reset,
        None => Failure::Protocol,
    }
}

/// An error of HTTP/2 in the body of an answer.
pub(super) fn of_http2_body(error: &h2::Error) -> Failure {
    match of_http2(error) {
        Failure::Eof => Failure::ShortBody,
        other => other,
    }
}

fn of_io(kind: ErrorKind) -> Option<Failure> {
    match kind {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Some(Failure::Reset)
        }
        ErrorKind::UnexpectedEof | ErrorKind::NotConnected => Some(Failure::Eof),
        ErrorKind::TimedOut => Some(Failure::Timeout),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Some(Failure::Unreachable)
        }
        _ => None,
    }
}

/// The kind of the operating system's error behind `error`, if there is one.
fn io_kind(error: &hyper::Error) -> Option<ErrorKind> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}
