//! An interface with the virtual router's own MAC address, on top of the machine's: a macvlan. Whoever
//! holds the address answers from the same MAC address, so that no neighbour has to learn a new one; only
//! the bridges have to, and they learn from every advert.
//!
//! ```text
//!   vrrp4-50   00:00:5e:00:01:32   the virtual address; up only while it is held, so that a standby
//!      │                           never says anything from a MAC address that is elsewhere
//!   eth0       the machine's own   everything else
//! ```

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, anyhow, bail};
use nix::libc;
use rtnetlink::packet_route::link::MacVlanMode;
use rtnetlink::{Handle, LinkMacVlan, LinkUnspec};

use super::address::{answered, errno};
use super::frames::Mac;
use super::interface::Interface;

/// Where the kernel is told how interfaces behave.
const SYSCTL: &str = "/proc/sys/net";

/// A macvlan of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VirtualInterface {
    pub(super) index: u32,
    pub(super) mac: Mac,
}

impl VirtualInterface {
    /// The one of the virtual router `vrid` for `address` on top of `base`, made where it is missing.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_ADMIN), where the kernel has no macvlan, or where the sysctls cannot
    /// be set.
    pub(super) async fn ensure(
        handle: &Handle,
        base: &Interface,
        vrid: u8,
        address: IpAddr,
    ) -> anyhow::Result<Self> {
        let name = name(vrid, address);
        let mac = vrrp::identity::virtual_mac(vrid, address);
        if let Some(there) = Interface::look_for(&name)? {
            if there.mac != mac {
                bail!("the interface `{name}` is not ours: rename it, or set virtual_mac = false");
            }
            tune(&base.name, &name, address)?;
            return Ok(VirtualInterface { index: there.index, mac });
        }
        let link = LinkMacVlan::new(&name, base.index, MacVlanMode::Private).address(mac.to_vec()).build();
        answered(handle.link().add(link).execute()).await.map_err(|error| match errno(&error) {
            libc::EPERM => anyhow!("the interface `{name}` cannot be made: it needs CAP_NET_ADMIN"),
            libc::EOPNOTSUPP => anyhow!(
                "the interface `{name}` cannot be made: load the kernel module macvlan, or set \
                 virtual_mac = false"
            ),
            _ => anyhow!("the interface `{name}` cannot be made on top of `{}`: {error}", base.name),
        })?;
        tune(&base.name, &name, address)?;
        let made = Interface::find(&name)?;
        Ok(VirtualInterface { index: made.index, mac })
    }

    /// Switches it on or off.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub(super) async fn set_up(self, handle: &Handle, up: bool) -> anyhow::Result<()> {
        let link = LinkUnspec::new_with_index(self.index);
        let link = if up { link.up() } else { link.down() };
        answered(handle.link().set(link.build()).execute())
            .await
            .with_context(|| format!("the virtual interface {} cannot be switched", self.index))
    }
}

/// At most 10 characters; an interface may have 15.
fn name(vrid: u8, address: IpAddr) -> String {
    let family = if address.is_ipv4() { 4 } else { 6 };
    format!("vrrp{family}-{vrid}")
}

/// Two interfaces on one segment answer for each other's addresses unless they are told not to.
fn tune(base: &str, name: &str, address: IpAddr) -> anyhow::Result<()> {
    if address.is_ipv4() {
        for interface in [base, name] {
            // Each answers for the addresses it has itself, and asks with those.
            set(&format!("ipv4/conf/{interface}/arp_ignore"), 1)?;
            set(&format!("ipv4/conf/{interface}/arp_announce"), 2)?;
        }
        // The way back to the clients is by the base interface, which strict filtering would not accept.
        set(&format!("ipv4/conf/{name}/rp_filter"), 2)?;
        // Where there is no IPv6 nothing has to be kept quiet.
        let _ = set(&format!("ipv6/conf/{name}/disable_ipv6"), 1);
        Ok(())
    } else {
        // No address but those that are held.
        set(&format!("ipv6/conf/{name}/addr_gen_mode"), 1)?;
        set(&format!("ipv6/conf/{name}/accept_ra"), 0)
    }
}

fn set(key: &str, value: u8) -> anyhow::Result<()> {
    fs::write(format!("{SYSCTL}/{key}"), value.to_string()).with_context(|| {
        let key = key.replace('/', ".");
        format!("net.{key} = {value} cannot be set, which virtual_mac needs: make /proc/sys writable here")
    })
}
