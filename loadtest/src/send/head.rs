//! What all requests of a target have in common.

use anyhow::Context;
use bytes::Bytes;
use http::uri::{Authority, Parts, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::Full;
use hyper::body::Body as _;

use super::Plan;
use crate::count::Connection;
use crate::origin::Origin;
use crate::target::Target;

/// A body of so many bytes at most is sent together with its head.
const SMALL: usize = 4096;

/// The head of a target's requests.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    kept: HeaderMap,
    fresh: HeaderMap,
    /// The same as they are sent in HTTP/1.1, without the length of a body and the empty line; kept and fresh. None
    /// where how the body is sent is not ours to say.
    lines: Option<[Vec<u8>; 2]>,
}

impl Head {
    /// The head of `target`'s requests.
    ///
    /// # Errors
    ///
    /// When the host cannot stand in a header.
    pub(super) fn new(plan: &Plan, target: &Target) -> anyhow::Result<Self> {
        let Origin { tls, authority, .. } = &*plan.origin;
        let (method, mut kept) = (target.method.clone(), target.headers.clone());
        if plan.http2 {
            let scheme = if *tls { Scheme::HTTPS } else { Scheme::HTTP };
            let authority: Authority = match kept.remove(header::HOST) {
                Some(host) => {
                    host.to_str().ok().and_then(|host| host.parse().ok()).context("the header Host")?
                }
                None => authority.parse()?,
            };
            let mut parts = Parts::default();
            parts.scheme = Some(scheme);
            parts.authority = Some(authority);
            parts.path_and_query = target.path.path_and_query().cloned();
            return Ok(Head { method, uri: Uri::from_parts(parts)?, fresh: kept.clone(), kept, lines: None });
        }
        if !kept.contains_key(header::HOST) {
            kept.insert(header::HOST, HeaderValue::from_str(authority)?);
        }
        let mut fresh = kept.clone();
        fresh.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let framed = [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::EXPECT, header::UPGRADE];
        let plain = method != Method::CONNECT && !framed.iter().any(|name| kept.contains_key(name));
        let lines =
            plain.then(|| [lines(&method, &target.path, &kept), lines(&method, &target.path, &fresh)]);
        Ok(Head { method, uri: target.path.clone(), kept, fresh, lines })
    }

    pub(super) fn headers(&self, connection: Connection) -> &HeaderMap {
        match connection {
            Connection::Fresh => &self.fresh,
            Connection::Kept => &self.kept,
        }
    }

    /// A request as it is sent in HTTP/1.1: its beginning, and what is left of its body. The body is taken out of what
    /// is given then.
    pub(super) fn written(&self, connection: Connection, body: &mut Full<Bytes>) -> Option<(Vec<u8>, Bytes)> {
        let [kept, fresh] = self.lines.as_ref()?;
        let mut bytes = match connection {
            Connection::Fresh => fresh.clone(),
            Connection::Kept => kept.clone(),
        };
        let length = body.size_hint().exact()?;
        // A method that means something with a body says that there is none (RFC 9110, section 8.6).
        if length > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(&self.method) {
            bytes.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let mut body = std::mem::take(body).into_inner().unwrap_or_default();
        // One packet for a small one; a large one is shared by all its requests.
        if body.len() <= SMALL {
            bytes.extend_from_slice(&std::mem::take(&mut body));
        }
        Some((bytes, body))
    }
}

fn lines(method: &Method, uri: &Uri, headers: &HeaderMap) -> Vec<u8> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
