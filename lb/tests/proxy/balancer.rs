//! A running `lb proxy`.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backend::Backend;

/// How long anything may take that happens soon.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// The virtual router of those that have one.
pub(crate) const VRID: u8 = 50;

static BALANCERS: AtomicU64 = AtomicU64::new(0);

/// The process and where it is. Killed when dropped.
pub(crate) struct Balancer {
    pub(crate) address: IpAddr,
    clients: SocketAddr,
    child: Child,
    directory: TempDir,
    /// The lines that every settings file of it begins with.
    settings: String,
    generation: AtomicU64,
    http: reqwest::Client,
}

impl Balancer {
    /// Starts one with the default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts one with `limits` as the lines of its `[limits]`.
    pub(crate) async fn start_with(limits: &str) -> Self {
        let address = own_address();
        Self::start_at(address, SocketAddr::new(address, 8000), &format!("[limits]\n{limits}")).await
    }

    /// Starts one with `settings` besides the default ones.
    pub(crate) async fn start_also_with(settings: &str) -> Self {
        let address = own_address();
        Self::start_at(address, SocketAddr::new(address, 8000), settings).await
    }

    /// Starts one with the settings that `settings` says for its address.
    #[allow(dead_code)] // of the test programs that share this file, some have use for it
    pub(crate) async fn start_with_settings(settings: impl FnOnce(IpAddr) -> String) -> Self {
        let address = own_address();
        Self::start_at(address, SocketAddr::new(address, 8000), &settings(address)).await
    }

    /// Starts one with a virtual address, and with the settings that `settings` says for its own one.
    #[allow(dead_code)]
    pub(crate) async fn start_with_vip_and(vip: IpAddr, settings: &str) -> Self {
        let router = format!("[[vip]]\naddress = \"{vip}\"\nvrid = {VRID}\npriority = 240\n");
        Self::start_at(own_address(), SocketAddr::new(vip, 8000), &format!("{router}{settings}")).await
    }

    /// Starts one whose clients connect to a virtual address, in a network of the test's own.
    pub(crate) async fn start_with_vip(vip: IpAddr) -> Self {
        let address = own_address();
        let settings = format!("[[vip]]\naddress = \"{vip}\"\nvrid = {VRID}\npriority = 240\n");
        Self::start_at(address, SocketAddr::new(vip, 8000), &settings).await
    }

    async fn start_at(address: IpAddr, clients: SocketAddr, more: &str) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let settings = format!(
            "machine = \"test-lb\"\naddress = \"{address}\"\nlisten = \"{clients}\"\nworkers = 2\n\
             state_dir = {:?}\n",
            directory.path().join("state"),
        );
        std::fs::write(directory.path().join("lb.toml"), format!("{settings}{more}\n")).expect("settings");
        let child = spawn(&directory);
        let http = reqwest::Client::builder().local_address(address).build().expect("client");
        let generation = AtomicU64::new(0);
        let balancer = Balancer { address, clients, child, directory, settings, generation, http };
        balancer.is_up().await;
        balancer
    }

    /// Has it read its settings file anew, which has `more` besides the default settings now, and waits until it has.
    #[allow(dead_code)] // of the test programs that share this file, one has use for it
    pub(crate) async fn reload_with(&self, more: &str) {
        self.write_settings(more);
        let before = self.reloads().await;
        self.signal(Signal::SIGHUP);
        eventually("the file is read anew", async || (self.reloads().await > before).then_some(())).await;
    }

    /// Puts `more` besides the default settings into its file. Like an editor: there is the old one or the new one.
    #[allow(dead_code)]
    pub(crate) fn write_settings(&self, more: &str) {
        let new = self.directory.path().join("lb.toml.new");
        std::fs::write(&new, format!("{}{more}\n", self.settings)).expect("settings");
        std::fs::rename(new, self.directory.path().join("lb.toml")).expect("settings");
    }

    /// Waits until `/metrics` has this line. A request is counted when its client may have the answer already.
    #[allow(dead_code)]
    pub(crate) async fn counts(&self, line: &str) {
        eventually(line, async || {
            let metrics = self.get("/metrics").await.text().await.expect("text");
            metrics.lines().any(|found| found == line).then_some(())
        })
        .await;
    }

    /// How often it has read its settings file anew.
    #[allow(dead_code)]
    pub(crate) async fn reloads(&self) -> u64 {
        let file = self.get_json("/status").await["file"].clone();
        file["taken"].as_u64().expect("a number") + file["refused"].as_u64().expect("a number")
    }

    /// Kills it at once and starts it again from the same directory.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
        self.child = spawn(&self.directory);
        self.is_up().await;
    }

    /// Starts another one from the same directory beside it, and then has it end.
    #[allow(dead_code)] // of the test programs that share this file, one has use for it
    pub(crate) async fn upgrade(&mut self) {
        self.upgrade_after(async |_| {}).await;
    }

    /// The same; `last` is done while both run.
    #[allow(dead_code)]
    pub(crate) async fn upgrade_after(&mut self, last: impl AsyncFnOnce(&Balancer)) {
        let before = self.listeners();
        let mut old = std::mem::replace(&mut self.child, spawn(&self.directory));
        eventually("both listen", async || (self.listeners() == 2 * before).then_some(())).await;
        last(self).await;
        terminate(&mut old).await;
        self.is_up().await;
    }

    /// How many sockets listen where it takes clients' requests.
    fn listeners(&self) -> usize {
        let std::net::SocketAddr::V4(clients) = self.clients else { panic!("an IPv4 address") };
        let [a, b, c, d] = clients.ip().octets();
        let listens = format!(" {d:02X}{c:02X}{b:02X}{a:02X}:{:04X} 00000000:0000 0A ", clients.port());
        std::fs::read_to_string("/proc/net/tcp").expect("proc").matches(&listens).count()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        terminate(&mut self.child).await
    }

    /// The memory it has now, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends `signal` to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("signalled");
    }

    pub(crate) fn state_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    async fn is_up(&self) {
        let clients = self.clients();
        eventually("the balancer is up", async || {
            tokio::net::TcpStream::connect(clients).await.ok()?;
            self.http.get(self.read("/health/live")).send().await.ok()?;
            self.http.get(self.change("/upstreams")).send().await.ok()
        })
        .await;
    }

    /// Where it takes clients' requests.
    pub(crate) fn clients(&self) -> SocketAddr {
        self.clients
    }

    fn read(&self, path: &str) -> String {
        format!("http://{}:8080{path}", self.address)
    }

    pub(crate) fn change(&self, path: &str) -> String {
        format!("http://{}:8443{path}", self.address)
    }

    /// What `GET path` on the port for reads answers.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(self.read(path)).send().await.expect("answer")
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("JSON")
    }

    /// Asks on the port that `method` is for.
    #[allow(dead_code)] // of the test programs that share this file, one has use for it
    pub(crate) async fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Vec<u8>,
    ) -> reqwest::Result<reqwest::Response> {
        let url = if method == reqwest::Method::GET { self.read(path) } else { self.change(path) };
        self.http.request(method, url).header("content-type", "text/plain").body(body).send().await
    }

    /// `PUT path` on the port for changes: status and body.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let text = body.to_string();
        let too_large = text.len() > kit::api::MAX_BODY;
        let request = self.http.put(self.change(path)).header("content-type", "application/json");
        let answer = match request.body(text).send().await {
            // The refusal may come while it is still being sent, and the connection ends under it.
            Err(_) if too_large => return (413, json!({"detail": "the connection ended"})),
            answer => answer.expect("answer"),
        };
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// `PATCH path` on the port for changes: status and body.
    #[allow(dead_code)]
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.http.patch(self.change(path)).json(body).send().await.expect("answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// `DELETE path` on the port for changes.
    pub(crate) async fn delete(&self, path: &str) -> u16 {
        self.http.delete(self.change(path)).send().await.expect("answer").status().as_u16()
    }

    /// The set after the present one: the pool `p` of these upstreams.
    pub(crate) fn next_set(&self, upstreams: &[Value]) -> Value {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        json!({"generation": generation, "pools": {"p": upstreams}})
    }

    /// Gives it the pool `p` of these upstreams.
    pub(crate) async fn use_upstreams(&self, upstreams: &[Value]) {
        let answer = self.put("/upstreams", &self.next_set(upstreams)).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    pub(crate) async fn use_backends(&self, backends: &[&Backend]) {
        let upstreams: Vec<_> = backends.iter().map(|backend| backend.upstream()).collect();
        self.use_upstreams(&upstreams).await;
    }

    /// Gives it a configuration of `routes`.
    #[allow(dead_code)]
    pub(crate) async fn use_routes(&self, routes: Value) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = self.put("/config", &json!({"generation": generation, "routes": routes})).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    /// Gives it `pools` of these backends.
    #[allow(dead_code)]
    pub(crate) async fn use_pools(&self, pools: &[(&str, &[&Backend])]) {
        let mut set = self.next_set(&[]);
        for (name, backends) in pools {
            set["pools"][*name] = backends.iter().map(|backend| backend.upstream()).collect();
        }
        let answer = self.put("/upstreams", &set).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    /// Routes everything to the pool `p` with this policy.
    pub(crate) async fn use_policy(&self, policy: Value) {
        let config = json!({
            "generation": 1,
            "routes": [{"name": "all", "pool": "p"}],
            "pools": {"p": policy},
        });
        let answer = self.put("/config", &config).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    }

    /// The record of `backend` in `/status`.
    pub(crate) async fn record(&self, backend: &Backend) -> Value {
        self.record_of("p", &backend.id()).await
    }

    /// The record of the upstream `id` of `pool` in `/status`.
    pub(crate) async fn record_of(&self, pool: &str, id: &str) -> Value {
        let status = self.get_json("/status").await;
        let upstreams = status["pools"][pool]["upstreams"].as_array().expect("upstreams").clone();
        upstreams.into_iter().find(|upstream| upstream["id"] == id).expect("the upstream's record")
    }

    /// Waits until `/status` says that `backend` is ejected, or is not.
    pub(crate) async fn is_ejected(&self, backend: &Backend, ejected: bool) {
        eventually(&format!("{} ejected: {ejected}", backend.id()), async || {
            (self.record(backend).await["ejected"] == ejected).then_some(())
        })
        .await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn terminate(child: &mut Child) -> ExitStatus {
    let pid = i32::try_from(child.id()).expect("pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).expect("signalled");
    eventually("the process ends", async || child.try_wait().expect("waited for")).await
}

fn spawn(directory: &TempDir) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lb"))
        .arg("proxy")
        .arg("--config")
        .arg(directory.path().join("lb.toml"))
        .stdin(Stdio::null())
        .spawn()
        .expect("lb starts")
}

/// A loopback address that no other test has.
fn own_address() -> IpAddr {
    let mut hasher = std::hash::DefaultHasher::new();
    let mut name = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = write!(name, "{}-{}", std::process::id(), BALANCERS.fetch_add(1, Ordering::Relaxed));
    name.hash(&mut hasher);
    let [a, b, c, ..] = hasher.finish().to_be_bytes();
    IpAddr::from([127, a % 250 + 1, b % 250 + 1, c % 250 + 2])
}

/// Asks until there is an answer.
///
/// # Panics
///
/// When there is none soon.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
