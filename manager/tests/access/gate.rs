//! Tokens over TLS, on the manager's own routes: the listener that makes such origins is another's business.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use manager::access::audit::Audit;
use manager::access::gate::{Gate, PKI};
use manager::access::tokens::Tokens;
use manager::access::{From, Origin};
use manager::api::Api;
use manager::certificates::keeper::Keeper;
use manager::config::Config;
use manager::engine::Engine;
use manager::executor::Shared;
use manager::faults::Faults;
use manager::metrics::Metrics;
use manager::page::Board;
use manager::pki::keeper::Pki;
use manager::ports::namespaces::Namespaces;
use manager::ports::transport::Transport;
use manager::services::Services;
use manager::store::Store;
use tempfile::TempDir;
use tower::ServiceExt;
use wire::Problem;
use wire::access::{CreateToken, Scope};

/// The routes of a manager of an initialised cluster that makes no machines.
pub(crate) struct Manager {
    directory: TempDir,
    router: Router,
    tokens: Tokens,
    audit: Audit,
}

impl Manager {
    pub(crate) fn new(settings: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        std::fs::create_dir(directory.path().join(PKI)).expect("a directory");
        let text = format!(
            "name = \"a\"\naddress = \"192.168.10.1\"\npeers = [\"192.168.10.2\"]\ngateway = \"192.168.10.1\"\n\
             hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.10-192.168.10.16\"]\nchaos = true\n\
             state_dir = \"{}\"\n{settings}\n[[service]]\nname = \"stateless\"\nreplicas = 1\n",
            directory.path().display()
        );
        let config = Config::check(&kit::config::Source::from_text("a.toml", &text)).expect("valid");
        let store = Store::open(&config.state_dir).expect("a store");
        let (exits, _) = tokio::sync::mpsc::unbounded_channel();
        let hypervisor = Arc::new(Namespaces::new(&config, exits).expect("a driver"));
        let pki = Arc::new(Pki::new(&config));
        let certificates = Arc::new(Keeper::open(&config, store.clone()));
        let (stop, _) = tokio::sync::mpsc::channel(1);
        let file = directory.path().join("a.toml");
        let faults = Some(Arc::new(Faults::new(config.clone(), file, stop)));
        let engine = Engine::new(config.clone(), None, Duration::ZERO);
        let shared = Arc::new(Shared::new(engine, Instant::now(), Metrics::new().expect("metrics")));
        let (tokens, audit) = (Tokens::new(store.clone()), Audit::new(directory.path()));
        let gate = Arc::new(Gate::new(Arc::clone(&shared), tokens.clone(), audit.clone()));
        let transport = Transport::new(&config, Arc::clone(&pki)).expect("a transport");
        let board = Arc::new(Board::new(Arc::clone(&shared), transport));
        let services = Arc::new(Mutex::new(Services::open(&config, store.clone())));
        let api = Api { shared, hypervisor, store, services, gate, pki, certificates, board, faults };
        let router = manager::api::router(api);
        Manager { directory, router, tokens, audit }
    }

    /// A new token, and what is sent of it.
    fn token(&self, name: &str, scopes: &[Scope], expires_in_s: Option<u64>) -> String {
        let order =
            CreateToken { name: name.to_owned(), scopes: scopes.iter().copied().collect(), expires_in_s };
        let now_s = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
        format!("Bearer {}", self.tokens.create(order, now_s).expect("made").secret)
    }

    /// Asks over TLS from somewhere; gives back status, challenge and what was said.
    async fn ask(
        &self,
        bearer: Option<&str>,
        certified: Option<&str>,
        asked: &str,
    ) -> (u16, Option<String>, String) {
        let (method, rest) = asked.split_once(' ').expect("a method");
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let origin = Origin {
            from: From::Network("192.168.10.100:9".parse().expect("an address")),
            encrypted: true,
            certified: certified.map(Into::into),
        };
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::CONTENT_LENGTH, body.len()).extension(ConnectInfo(origin));
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let challenge = response.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.map(|challenge| challenge.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, challenge, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks as `origin`; gives back status, content type and what was said.
    pub(crate) async fn ask_as(
        &self,
        origin: Origin,
        asked: (&str, &str),
        body: Vec<u8>,
    ) -> (u16, String, String) {
        let request = Request::builder().method(asked.0).uri(asked.1).extension(ConnectInfo(origin));
        let request =
            request.header(header::CONTENT_LENGTH, body.len()).header(header::CONTENT_TYPE, "text/plain");
        let request = request.body(Body::from(body)).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let content_type =
            response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, content_type.unwrap_or_default(), String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn status(&self, bearer: &str, asked: &str) -> u16 {
        self.ask(Some(bearer), None, asked).await.0
    }
}

const MORE: &str = r#"POST /vms {"service":"stateless"}"#;
const HARM: &str = r#"POST /vms/a-stateless-1/fault {"fault":"thaw"}"#;

/// What is refused as such by who would take an order at all.
const CUT: &str = r#"POST /host/fault {"fault":"cut","ttl_ms":0}"#;

#[tokio::test]
async fn each_scope_opens_its_doors_and_no_other() {
    let manager = Manager::new("open_reads = false");
    let read = manager.token("read", &[Scope::Read], None);
    let operate = manager.token("operate", &[Scope::Operate], Some(60));
    let chaos = manager.token("chaos", &[Scope::Chaos], None);
    // A fault that gets through finds no machine that runs.
    for (bearer, cluster, audit, more, harm) in
        [(&read, 200, 200, 403, 403), (&operate, 200, 200, 202, 403), (&chaos, 403, 403, 403, 409)]
    {
        assert_eq!(manager.status(bearer, "GET /cluster").await, cluster, "{bearer}");
        assert_eq!(manager.status(bearer, "GET /audit").await, audit, "{bearer}");
        assert_eq!(manager.status(bearer, MORE).await, more, "{bearer}");
        assert_eq!(manager.status(bearer, HARM).await, harm, "{bearer}");
        let (cut, seen, healed) = if harm == 409 { (400, 200, 204) } else { (403, 403, 403) };
        assert_eq!(manager.status(bearer, CUT).await, cut, "{bearer}");
        assert_eq!(manager.status(bearer, "GET /host/fault").await, seen, "{bearer}");
        assert_eq!(manager.status(bearer, "DELETE /host/fault").await, healed, "{bearer}");
        assert_eq!(manager.status(bearer, "GET /access/tokens").await, 403, "{bearer}");
        assert_eq!(manager.status(bearer, "PUT /peers/b {}").await, 403, "{bearer}");
    }
    let whos: Vec<String> =
        manager.audit.newest(100).expect("readable").into_iter().map(|entry| entry.who).collect();
    assert!(whos.contains(&"token operate at 192.168.10.100".to_owned()), "{whos:?}");
    assert!(whos.contains(&"token read at 192.168.10.100".to_owned()), "{whos:?}");
}

#[tokio::test]
async fn what_is_for_everybody_needs_nothing() {
    let manager = Manager::new("open_reads = false");
    for (asked, status) in [
        ("GET /health/live", 204),
        ("GET /metrics", 200),
        ("HEAD /metrics", 200),
        ("GET /swagger-ui/", 200),
        ("GET /api-docs/openapi.json", 200),
        ("GET /nothing/here", 404),
        ("GET /cluster", 401),
        ("GET /events", 401),
        ("GET /vms/a-stateless-1/logs", 401),
        ("POST /metrics", 401),
    ] {
        assert_eq!(manager.ask(None, None, asked).await.0, status, "{asked}");
    }
}

#[tokio::test]
async fn the_page_of_a_closed_cluster_shows_nothing_until_a_token_is_shown() {
    let manager = Manager::new("open_reads = false");
    let read = manager.token("read", &[Scope::Read], None);
    let (status, _, shell) = manager.ask(None, None, "GET /").await;
    assert!(status == 200 && shell.contains("Enter a token"), "{status} {shell}");
    assert!(!shell.contains("a-stateless-1") && !shell.contains("192.168.10."), "{shell}");
    let (status, _, whole) = manager.ask(Some(&read), None, "GET /").await;
    assert!(status == 200 && whole.contains("a-stateless-1"), "{status} {whole}");
    for (asked, status) in [
        ("GET /page/style.css", 200),
        ("GET /page/live.js", 200),
        ("GET /page/actions.js", 200),
        ("GET /page/stream", 401),
        ("GET /traffic", 401),
        ("GET /events/history", 401),
        ("PUT /vms/a-stateless-1/drain {\"on\":true}", 401),
    ] {
        assert_eq!(manager.ask(None, None, asked).await.0, status, "{asked}");
    }
    assert_eq!(manager.status(&read, "PUT /vms/a-stateless-1/drain {\"on\":true}").await, 403);
    let operate = manager.token("operate", &[Scope::Operate], None);
    assert_eq!(manager.status(&operate, "PUT /vms/a-stateless-1/drain {\"on\":true}").await, 200);
    assert_eq!(manager.status(&operate, "PUT /vms/a-stateless-1/drain {\"off\":true}").await, 400);
}

#[tokio::test]
async fn a_worthless_token_gets_a_challenge_and_the_reason() {
    let manager = Manager::new("");
    let short = manager.token("short", &[Scope::Operate], Some(1));
    let revoked = manager.token("revoked", &[Scope::Operate], None);
    manager.tokens.revoke("revoked", 1).expect("revoked");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    for (bearer, said) in [
        (short.as_str(), "has expired"),
        (&revoked, "unknown or was revoked"),
        ("Bearer holdfast_0000", "unknown or was revoked"),
        ("Basic cm9vdDpyb290", "Bearer"),
        ("Bearer", "Bearer"),
    ] {
        for asked in ["GET /cluster", MORE] {
            let (status, challenge, body) = manager.ask(Some(bearer), None, asked).await;
            assert_eq!(status, 401, "{bearer}");
            assert_eq!(challenge.as_deref(), Some("Bearer realm=\"holdfast\""));
            let problem: Problem = serde_json::from_str(&body).expect("a problem");
            assert!(problem.detail.contains(said), "{problem:?}");
        }
        assert_eq!(manager.status(bearer, "GET /health/live").await, 204, "what is for all is for all");
    }
}

#[tokio::test]
async fn a_certified_host_changes_and_tells_of_itself_only() {
    let manager = Manager::new("");
    assert_eq!(manager.ask(None, Some("b"), MORE).await.0, 202);
    assert_eq!(manager.ask(None, Some("b"), "GET /access/tokens").await.0, 403);
    let snapshot = r#"PUT /peers/c {"host":"c","address":"192.168.10.2","address_pool":[],"epoch":1,"version":1,"endpoints":[],"machines":[],"desired":0,"lb":null}"#;
    let (status, _, body) = manager.ask(None, Some("b"), snapshot).await;
    assert!(status == 403 && body.contains("host `b` cannot speak for host `c`"), "{status} {body}");
    let entries = manager.audit.newest(100).expect("readable");
    assert_eq!(entries[0].who, "host b at 192.168.10.100");
}

#[tokio::test]
async fn a_listener_that_does_not_say_where_from_opens_nothing() {
    let manager = Manager::new("");
    let request = Request::builder().uri("/cluster").body(Body::empty()).expect("a request");
    assert_eq!(manager.router.clone().oneshot(request).await.expect("an answer").status().as_u16(), 403);
    assert!(manager.directory.path().join("store.redb").exists());
}

#[tokio::test]
async fn bodies_are_written_down_without_their_secrets_and_still_arrive() {
    let manager = Manager::new("");
    let operate = manager.token("operate", &[Scope::Operate], None);
    let odd = r#"POST /vms {"service":"stateless","joinToken":"s3cr3t"}"#;
    assert_eq!(manager.status(&operate, odd).await, 400);
    assert_eq!(manager.status(&operate, r#"POST /vms {"service":"nothing"}"#).await, 404);
    let large = format!(r#"POST /vms {{"service":"{}"}}"#, "x".repeat(40_000));
    assert_eq!(manager.status(&operate, &large).await, 404);
    let entries = manager.audit.newest(100).expect("readable");
    let bodies: Vec<&str> = entries.iter().filter_map(|entry| entry.body.as_deref()).collect();
    assert_eq!(bodies, ["joinToken=(not shown) service=stateless", "service=nothing", "40014 bytes"]);
    assert_eq!(entries.iter().map(|entry| entry.status).collect::<Vec<_>>(), [400, 404, 404]);
}
