//! The gate before every handler: who asks is found out, judged, and written down.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kit::api::ApiError;
use wire::Problem;
use wire::access::AuditEntry;

use super::audit::Audit;
use super::body::{shortened, summarized};
use super::rules::{Bearer, Need, Refusal, Rules, Who, judge, need};
use super::tokens::{Shown, Tokens};
use super::{From, Origin, browser, unix_ms, unix_s};
use crate::executor::Shared;

/// The directory in `state_dir` that a cluster's certificates are in once it is initialised.
pub const PKI: &str = "pki";

/// The longest path that is written down, in characters.
const LONGEST_PATH: usize = 256;

/// What the gate knows.
pub struct Gate {
    pki: PathBuf,
    open_reads: bool,
    address: IpAddr,
    shared: Arc<Shared>,
    /// The tokens of this manager.
    pub tokens: Tokens,
    /// What was changed.
    pub audit: Audit,
}

impl Gate {
    /// The gate of the manager that `shared` is.
    pub fn new(shared: Arc<Shared>, tokens: Tokens, audit: Audit) -> Self {
        let (pki, open_reads, address) = shared.look(|engine, _| {
            let config = engine.config();
            (config.state_dir.join(PKI), config.open_reads, config.address)
        });
        Gate { pki, open_reads, address, shared, tokens, audit }
    }

    /// Whether somebody who sent a request with these headers may see how things are.
    ///
    /// # Errors
    ///
    /// Why not, and what to do about it.
    pub(crate) async fn may_look(&self, origin: &Origin, headers: &HeaderMap) -> Result<(), String> {
        let bearer = show(self, headers).await;
        self.judge(origin, &bearer, Need::Status).map(drop).map_err(|why| why.detail)
    }

    fn judge(&self, origin: &Origin, bearer: &Bearer, need: Need) -> Result<Who, Refusal> {
        let initialised = is_initialised(&self.pki);
        // Once certificates tell who is who, nobody is trusted for being a peer.
        let peers =
            if initialised { Vec::new() } else { self.shared.look(|engine, _| engine.peer_addresses()) };
        let (open_reads, address) = (self.open_reads, self.address);
        judge(origin, bearer, need, &Rules { initialised, open_reads, address, peers: &peers })
    }
}

/// Whether the cluster has a CA. Looked at for each request, because `manager init` runs beside the manager;
/// a directory that cannot be looked at counts as there.
pub fn is_initialised(pki: &Path) -> bool {
    pki.try_exists().unwrap_or(true)
}

/// The middleware. Unknown paths pass: what answers them gives nothing away.
pub async fn gate(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let Some(route) = request.extensions().get::<MatchedPath>() else { return next.run(request).await };
    let need = need(request.method(), route.as_str());
    let Some(ConnectInfo(origin)) = request.extensions().get::<ConnectInfo<Origin>>().cloned() else {
        // A listener that does not say where its connections come from.
        return refusal(&Refusal { status: 403, detail: "it is not known where this comes from".to_owned() });
    };
    let bearer = if need == Need::Open { Bearer::None } else { show(&gate, request.headers()).await };
    let mut judged = gate.judge(&origin, &bearer, need);
    if let (Ok(Who::Address(_)), Need::Change(_) | Need::Snapshot) = (&judged, need)
        && let Some(detail) = browser::objection(request.headers())
    {
        judged = Err(Refusal { status: 403, detail });
    }
    let entry = AuditEntry {
        unix_ms: unix_ms(),
        who: judged.as_ref().map_or_else(|_| described(&origin, &bearer), Who::to_string),
        method: request.method().to_string(),
        path: shortened(request.uri().path(), LONGEST_PATH),
        status: 0,
        body: None,
        refused: None,
        unlisted: 0,
    };
    let who = match judged {
        Ok(who) => who,
        Err(why) => {
            if !is_look(need, request.method()) {
                write(&gate, AuditEntry { status: why.status, refused: Some(why.detail.clone()), ..entry })
                    .await;
            }
            return refusal(&why);
        }
    };
    // Peers tell of themselves twice a second: that is no change that anybody made.
    let is_change = !is_look(need, request.method()) && need != Need::Snapshot;
    request.extensions_mut().insert(who);
    if !is_change {
        return next.run(request).await;
    }
    let (request, body) = match summarized(request).await {
        Ok(read) => read,
        Err(error) => {
            return ApiError(Problem::bad_body(format!("the body broke off: {error}"))).into_response();
        }
    };
    let response = next.run(request).await;
    write(&gate, AuditEntry { status: response.status().as_u16(), body, ..entry }).await;
    response
}

/// Whether it changes nothing, whoever may do it.
fn is_look(need: Need, method: &Method) -> bool {
    match need {
        Need::Open | Need::Status | Need::Records => true,
        Need::Tokens => method == Method::GET || method == Method::HEAD,
        Need::Change(_) | Need::Snapshot | Need::Enrol => false,
    }
}

/// Somebody who was refused: what there is to know of them.
fn described(origin: &Origin, bearer: &Bearer) -> String {
    match (&origin.from, bearer) {
        (From::Socket { uid }, _) => format!("uid {uid} on the socket"),
        (From::Network(from), Bearer::Known { name, .. }) => {
            format!("token {name} at {}", from.ip().to_canonical())
        }
        (From::Network(from), _) => from.ip().to_canonical().to_string(),
    }
}

async fn show(gate: &Gate, headers: &HeaderMap) -> Bearer {
    let Some(sent) = headers.get(header::AUTHORIZATION) else { return Bearer::None };
    let secret = sent.to_str().ok().and_then(|sent| sent.split_once(' '));
    let Some((_, secret)) = secret.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Bearer::Worthless("expected Authorization: Bearer and a token".to_owned());
    };
    let (tokens, secret) = (gate.tokens.clone(), secret.trim().to_owned());
    // Somebody may be storing a token, and the disk be slow.
    let shown = tokio::task::spawn_blocking(move || tokens.show(&secret, unix_s())).await;
    let Ok(Shown { bearer, note }) = shown else {
        return Bearer::Worthless("the manager is ending: try again".to_owned());
    };
    if let (true, Bearer::Known { name, .. }) = (note, &bearer) {
        let (tokens, name) = (gate.tokens.clone(), name.clone());
        tokio::task::spawn_blocking(move || tokens.note_use(&name));
    }
    bearer
}

async fn write(gate: &Gate, entry: AuditEntry) {
    let audit = gate.audit.clone();
    // It fails only when the process ends.
    let _ = tokio::task::spawn_blocking(move || audit.write(entry)).await;
}

fn refusal(refusal: &Refusal) -> Response {
    let title = if refusal.status == 401 { "Unauthorized" } else { "Forbidden" };
    let mut response = ApiError(Problem::new(refusal.status, title, refusal.detail.clone())).into_response();
    if refusal.status == 401 {
        // RFC 6750, section 3.
        let challenge = HeaderValue::from_static("Bearer realm=\"holdfast\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
