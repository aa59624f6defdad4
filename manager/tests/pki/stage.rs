//! Hosts on loopback addresses: their configuration, their commands, their managers.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use manager::config::Config;
use manager::pki::LEAF_LIFETIME;
use manager::pki::files::Directory;
use manager::tls::client::{Answer, Client};
use tempfile::TempDir;
use wire::cluster::ClusterView;
use wire::tls::Credentials;

use crate::run::{Ended, PATIENCE, eventually, run_within};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A host: a directory, a configuration, and perhaps a manager that runs.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) config: PathBuf,
    directory: TempDir,
    manager: Option<Child>,
}

impl Host {
    /// Host number `number` of this test, with a pool of its own.
    pub(crate) fn new(name: &str, number: u8) -> Self {
        let [_, b, c, _] = network();
        let pool = format!("127.{b}.{c}.{}-127.{b}.{c}.{}", 10 * number, 10 * number + 6);
        Self::with(name, number, &pool, "")
    }

    /// The same, with this pool and these further lines of configuration.
    pub(crate) fn with(name: &str, number: u8, pool: &str, settings: &str) -> Self {
        let [a, b, c, _] = network();
        let address = IpAddr::from([a, b, c, number]);
        let directory = tempfile::Builder::new().prefix("holdfast-pki-").tempdir().expect("a directory");
        let config = directory.path().join("manager.toml");
        let text = format!(
            "name = \"{name}\"\naddress = \"{address}\"\nprefix = 8\ngateway = \"{address}\"\nhypervisor = \
             \"namespaces\"\nbridge = \"hf-not-there\"\nstate_dir = {:?}\naddress_pool = [\"{pool}\"]\n{settings}\n",
            directory.path().join("state")
        );
        fs::write(&config, text).expect("written");
        fs::create_dir(directory.path().join("state")).expect("made");
        Host { name: name.to_owned(), address, config, directory, manager: None }
    }

    /// A host that founded a cluster and whose manager runs.
    pub(crate) fn founder(name: &str, number: u8) -> Self {
        let mut host = Self::new(name, number);
        host.run(&["init"]).ok();
        host.start();
        host
    }

    /// Runs a command of the manager's program on this host.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manager"));
        run_within(command.arg("--config").arg(&self.config).args(words), PATIENCE)
    }

    /// Runs a command that must fail, and gives what it complained about.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(1), "{words:?}: {}{}", ended.stdout, ended.stderr);
        ended.stderr
    }

    /// A token to join with.
    pub(crate) fn token(&self) -> String {
        self.run(&["token"]).ok().trim().to_owned()
    }

    /// Joins the cluster of `host`, with a new token.
    pub(crate) fn join(&self, host: &Host) {
        self.run(&["join", &host.address.to_string(), &host.token()]).ok();
    }

    /// Starts the manager and waits until it answers by TLS, if it has certificates.
    pub(crate) fn start(&mut self) {
        self.spawn();
        let port = if self.state().join("pki").exists() { 8443 } else { 8080 };
        self.answers_on(port);
    }

    /// Starts the manager and waits until it answers by plain HTTP.
    pub(crate) fn start_plainly(&mut self) {
        self.spawn();
        self.answers_on(8080);
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_manager"))
            .arg("--config")
            .arg(&self.config)
            .arg("run")
            .env("RUST_LOG", "info,kit=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("a manager");
        self.manager = Some(child);
    }

    /// Waits until something answers on `port`.
    #[track_caller]
    pub(crate) fn answers_on(&self, port: u16) {
        eventually(&format!("{} answers on port {port}", self.name), || {
            std::net::TcpStream::connect((self.address, port)).ok()
        });
    }

    /// Ends the manager.
    pub(crate) fn stop(&mut self) {
        if let Some(mut manager) = self.manager.take() {
            manager.kill().expect("killed");
            manager.wait().expect("waited for");
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("manager.log")
    }

    /// What the manager has logged so far.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// How many descriptors the manager has in use.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it lives").count()
    }

    /// How much memory the manager has, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn pid(&self) -> u32 {
        self.manager.as_ref().expect("it runs").id()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}:8443{path}", self.address)
    }

    /// Credentials of this host's manager, as it makes them for itself.
    pub(crate) fn credentials(&self) -> Credentials {
        let directory = Directory::of(&self.state());
        let intermediate = directory.intermediate().expect("an intermediate");
        let list = directory.read("revocations.pem").expect("a list");
        intermediate.manager(&list, LEAF_LIFETIME).expect("a certificate").credentials
    }

    pub(crate) fn loaded(&self) -> Config {
        Config::load(&self.config).expect("valid")
    }

    /// The cluster as the manager shows it; none while it does not answer.
    pub(crate) async fn view(&self) -> Option<ClusterView> {
        let url = format!("http://{}:8080/cluster", self.address);
        let client = Client::plain(TIMEOUT).expect("a client");
        client.send(Method::GET, &url, None::<&()>).await.ok()?.json().ok()
    }

    /// What is said to somebody who changes something by plain HTTP and must not.
    pub(crate) async fn refuses_plainly(&self) -> wire::Problem {
        let url = format!("http://{}:8080/vms/{}-lb/replace", self.address, self.name);
        let client = Client::plain(TIMEOUT).expect("a client");
        let answer = client.send(Method::POST, &url, Some(&serde_json::json!({}))).await.expect("an answer");
        answer.accepted().expect_err("refused")
    }

    /// Waits until the manager hears host `name`, or does not hear it.
    pub(crate) async fn hears(&self, name: &str, alive: bool) {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let view = self.view().await;
            let heard = view
                .as_ref()
                .is_some_and(|view| view.hosts.iter().any(|host| host.name.as_str() == name && host.alive));
            if heard == alive {
                return;
            }
            assert!(std::time::Instant::now() < end, "{name} heard: {alive}? {view:#?}\n{}", self.logged());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            println!("--- {}'s manager ---\n{}", self.name, self.logged());
        }
    }
}

/// A client that shows and believes what `credentials` say.
pub(crate) fn client(credentials: &Credentials) -> Client {
    let live = kit::tls::Live::new(credentials, kit::tls::Clients::Anybody).expect("usable");
    Client::new((*live.client()).clone(), TIMEOUT)
}

/// Asks and gets an answer.
pub(crate) async fn get(client: &Client, url: &str) -> Result<Answer, String> {
    client.send(Method::GET, url, None::<&()>).await
}

/// A file as text.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Loopback addresses that no other test has: nextest gives each test a process of its own.
pub(crate) fn network() -> [u8; 4] {
    let mut hasher = std::hash::DefaultHasher::new();
    let mut name = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = write!(name, "{}", std::process::id());
    name.hash(&mut hasher);
    let [a, b, ..] = hasher.finish().to_be_bytes();
    [127, a % 120 + 130, b, 0]
}

/// Another address of this test's network.
pub(crate) fn address(last: u8) -> IpAddr {
    let [a, b, c, _] = network();
    IpAddr::from([a, b, c, last])
}
