//! A network of a test's own, for what loopback addresses cannot stand for.

use std::net::IpAddr;

use crate::namespaces::{in_namespaces, run};

/// An address that is on the loopback interface there, and that the balancer takes for one of its own.
pub(crate) const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 120));

/// The same of IPv6.
pub(crate) const VIP_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x120));

/// Runs `story` in a network of its own; `name` is the test's own.
pub(crate) fn in_network(name: &str, story: impl Future<Output = ()>) {
    in_namespaces(name, || {
        run("ip link set lo up");
        run(&format!("ip address add {VIP}/32 dev lo"));
        run(&format!("ip address add {VIP_V6}/128 dev lo nodad"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(story);
    });
}

/// From now on the address is not there any more.
pub(crate) fn take_away(address: IpAddr) {
    let length = if address.is_ipv4() { 32 } else { 128 };
    run(&format!("ip address del {address}/{length} dev lo"));
}
