//! A network of a test's own, for what loopback addresses cannot stand for.

use std::net::IpAddr;
use std::process::Command;

/// An address that is on the loopback interface there, and that the balancer takes for one of its own.
pub(crate) const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 120));

/// The same of IPv6.
pub(crate) const VIP_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x120));

/// Runs `story` in a network namespace of its own. `name` is the test's name in this program, by which it is
/// started again there.
pub(crate) fn in_network(name: &str, story: impl Future<Output = ()>) {
    const INSIDE: &str = "PROXY_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        run(&format!("ip address add {VIP}/32 dev lo"));
        run(&format!("ip address add {VIP_V6}/128 dev lo nodad"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        return runtime.block_on(story);
    }
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let status = command
        .args(["--net", "--"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare of util-linux");
    assert!(status.success(), "in its network: {status} (no namespaces? run as root or allow user ones)");
}

/// From now on the address is not there any more.
pub(crate) fn take_away(address: IpAddr) {
    let length = if address.is_ipv4() { 32 } else { 128 };
    run(&format!("ip address del {address}/{length} dev lo"));
}

/// Runs a command that must succeed; its words have no spaces in them.
fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().expect("a word")).args(words).status().expect("to start");
    assert!(status.success(), "{command}");
}
