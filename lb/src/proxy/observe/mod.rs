//! Whom requests are told to, and what they are given so that they are found again. All of it is an option: without any
//! a request costs one look at an `Option`.
//!
//! ```text
//!   request ──▶ begin ──▶ marked: its id, its trace ──▶ upstreams; the id in the answer, too
//!                 │
//!                 ▼
//!               trace ◀── each of its attempts, as it ends
//!                 │ the last of them lets go
//!                 ├──▶ a line ──▶ access_log
//!                 └──▶ spans ───▶ otlp
//! ```

mod context;
pub(crate) mod mark;
pub(crate) mod otlp;
mod request_id;
mod trace;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::time::Instant;

use self::context::Parent;
pub(crate) use self::context::{Context, SpanId};
use self::otlp::{Export, Finished};
pub(crate) use self::trace::{Attempt, Trace, micros};
use super::access_log::AccessLog;
use super::downstream::Downstream;
use crate::settings::{RequestIds, Settings};

/// What there is of it.
#[derive(Debug)]
pub(crate) struct Observers {
    log: Option<Arc<AccessLog>>,
    ids: Option<RequestIds>,
    /// The share of traces that are recorded, where nobody else decides.
    sample: Option<f64>,
    export: Option<Export>,
}

impl Observers {
    /// Starts those that `settings` ask for, if there are any.
    ///
    /// # Errors
    ///
    /// When the access log cannot be opened, or what is to be done beside requests cannot be started.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Option<Arc<Self>>> {
        let Settings { access_log, request_id, tracing, machine, .. } = settings;
        if access_log.is_none() && request_id.is_none() && tracing.is_none() {
            return Ok(None);
        }
        let log = access_log.as_ref().map(|log| {
            let started = AccessLog::start(log);
            started.with_context(|| format!("the access log {} cannot be used", log.path.display()))
        });
        let export = tracing.as_ref().and_then(|tracing| {
            let endpoint = tracing.endpoint.as_deref()?;
            Some(
                Export::start(endpoint, &tracing.service, machine.as_str())
                    .context("spans cannot be exported"),
            )
        });
        Ok(Some(Arc::new(Observers {
            log: log.transpose()?,
            ids: request_id.clone(),
            sample: tracing.as_ref().map(|tracing| tracing.sample),
            export: export.transpose()?,
        })))
    }

    /// Takes note of the request `of`, which `arrived` then, is of the first of `from` and came from the second, over TLS or not, and marks it;
    /// `is_trusted`: what the second says is believed.
    pub(crate) fn begin(
        self: &Arc<Self>,
        arrived: Instant,
        of: &mut Downstream<'_>,
        from: (IpAddr, IpAddr),
        is_secure: bool,
        is_trusted: bool,
    ) -> Arc<Trace> {
        let id = self.ids.as_ref().map(|ids| {
            let request = of.request_mut();
            let id = ids.of(&request.headers, is_trusted);
            mark::name(request, &ids.header, &id);
            id
        });
        let context = self.sample.map(|sample| {
            let request = of.request_mut();
            let parent = Parent::of(&request.headers);
            let is_recorded = match parent {
                Some(parent) if is_trusted => parent.is_recorded,
                // A stranger does not decide what we spend.
                Some(_) | None => rand::random::<f64>() < sample,
            };
            let context = Context::new(parent, is_recorded);
            mark::trace(request, &context, parent.is_some());
            context
        });
        Trace::begin((self.clone(), arrived), of.asked(), from, is_secure, (id.as_ref(), context))
    }

    /// Takes note of a request from `peer`, begun then, that is none, of which `head` is there.
    pub(crate) fn begin_faulty(self: &Arc<Self>, begun: Instant, head: &[u8], peer: IpAddr) -> Arc<Trace> {
        Trace::begin_faulty((self.clone(), begun), head, peer)
    }

    /// Where requests are written down, if they are.
    pub(crate) fn log(&self) -> Option<&AccessLog> {
        self.log.as_deref()
    }

    /// What becomes of spans, if they are sent anywhere.
    pub(crate) fn spans(&self) -> Option<&Export> {
        self.export.as_ref()
    }

    fn exports(&self) -> bool {
        self.export.is_some()
    }

    fn export(&self, finished: Finished) {
        if let Some(export) = &self.export {
            export.offer(finished);
        }
    }

    /// Writes and sends what is left.
    pub(crate) fn finish(&self) {
        if let Some(export) = &self.export {
            export.finish();
        }
        if let Some(log) = &self.log {
            log.finish();
        }
    }
}
