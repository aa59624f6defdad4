//! The `[[vip]]` and `[[notify]]` parts of the settings.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use kit::config::{ConfigError, Source};
use serde::Deserialize;
use toml::Spanned;
use vrrp::ChecksumForm;
use vrrp::settings::{self, MAX_UNICAST_PEERS};

/// The most `[[notify]]`.
const MAX_NOTIFIES: usize = 16;

/// One virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The virtual IP address.
    pub address: IpAddr,
    /// The virtual router's id; IPv4 and IPv6 are numbered apart.
    pub vrid: u8,
    /// The priority while fit: 200 to 254.
    pub priority: u8,
    /// The time between two adverts.
    pub advert_interval: Duration,
    /// Whether, and after how long, a fit holder of lower priority is preempted.
    pub preempt: Option<Duration>,
    /// What the checksum of a sent advert covers; both forms are taken.
    pub checksum: ChecksumForm,
    /// Who gets the adverts and whose are taken; all on the segment when empty.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether the address has the virtual router's own MAC address, whoever holds it.
    pub virtual_mac: bool,
}

/// Whom to tell of every change of a virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notify {
    /// A program to run with the arguments VRID ADDRESS STATE HOLDER.
    Command(PathBuf),
    /// An address to POST a JSON object to.
    Url(String),
}

/// One `[[vip]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VipFile {
    address: Spanned<IpAddr>,
    vrid: Spanned<u8>,
    priority: Spanned<u8>,
    #[serde(default)]
    advert_interval_ms: Option<Spanned<u64>>,
    #[serde(default)]
    preempt: bool,
    #[serde(default)]
    preempt_delay_ms: Option<Spanned<u64>>,
    #[serde(default)]
    checksum: Option<Spanned<Checksum>>,
    #[serde(default)]
    unicast_peers: Vec<Spanned<IpAddr>>,
    #[serde(default)]
    virtual_mac: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Checksum {
    PseudoHeader,
    Message,
}

impl From<Checksum> for ChecksumForm {
    fn from(written: Checksum) -> Self {
        match written {
            Checksum::PseudoHeader => ChecksumForm::PseudoHeader,
            Checksum::Message => ChecksumForm::MessageOnly,
        }
    }
}

/// One `[[notify]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyFile {
    #[serde(default)]
    command: Option<Spanned<PathBuf>>,
    #[serde(default)]
    url: Option<Spanned<String>>,
}

/// All of them, checked against each other and against `own`, the machine's address.
pub(super) fn check(
    source: &Source,
    own: IpAddr,
    files: Vec<Spanned<VipFile>>,
) -> Result<Vec<Vip>, ConfigError> {
    let mut vips: Vec<Vip> = Vec::new();
    for file in files {
        let span = file.span();
        let vip = file.into_inner().check(source, own)?;
        if vip.address == own {
            return Err(source.error_at(Some(span), "the VIP must not be the machine's own address"));
        }
        vips.push(vip);
        let all: Vec<_> = vips.iter().map(|vip| (vip.address, vip.vrid)).collect();
        source.checked(span, settings::distinct(&all))?;
    }
    Ok(vips)
}

/// All `[[notify]]`, checked.
pub(super) fn check_notifies(
    source: &Source,
    files: Vec<Spanned<NotifyFile>>,
) -> Result<Vec<Notify>, ConfigError> {
    if let Some(beyond) = files.get(MAX_NOTIFIES) {
        return Err(
            source.error_at(Some(beyond.span()), &format!("expected at most {MAX_NOTIFIES} [[notify]]"))
        );
    }
    files.into_iter().map(|file| NotifyFile::check(file, source)).collect()
}

impl VipFile {
    fn check(self, source: &Source, own: IpAddr) -> Result<Vip, ConfigError> {
        let VipFile {
            address,
            vrid,
            priority,
            advert_interval_ms,
            preempt,
            preempt_delay_ms,
            checksum,
            unicast_peers,
            virtual_mac,
        } = self;
        let wrong = |span, message: &str| Err(source.error_at(Some(span), message));
        let is_v4 = address.as_ref().is_ipv4();
        source.checked(address.span(), settings::address(*address.as_ref()))?;
        source.checked(vrid.span(), settings::vrid(*vrid.as_ref()))?;
        if !(200..=254).contains(priority.as_ref()) {
            return wrong(
                priority.span(),
                "expected a priority from 200 to 254: lower ones mean unfit, 255 belongs to an address owner",
            );
        }
        let interval_span = advert_interval_ms.as_ref().map(Spanned::span).unwrap_or_default();
        let advert_interval = advert_interval_ms.map(Spanned::into_inner);
        let advert_interval = source.checked(interval_span, settings::interval(advert_interval))?;
        let delay_span = preempt_delay_ms.as_ref().map(Spanned::span).unwrap_or_default();
        let preempt = settings::preempt(preempt, preempt_delay_ms.map(Spanned::into_inner));
        let preempt = source.checked(delay_span, preempt)?;
        let form_span = checksum.as_ref().map(Spanned::span).unwrap_or_default();
        let form = checksum.map(|form| form.into_inner().into());
        let checksum = source.checked(form_span, settings::checksum(*address.as_ref(), form))?;
        if let Some(beyond) = unicast_peers.get(MAX_UNICAST_PEERS) {
            return wrong(beyond.span(), &format!("expected at most {MAX_UNICAST_PEERS} unicast_peers"));
        }
        for peer in &unicast_peers {
            match peer.as_ref() {
                peer_address if *peer_address == own => {
                    return wrong(peer.span(), "a balancer is not its own peer: leave its address out");
                }
                IpAddr::V4(_) if is_v4 => {}
                IpAddr::V6(peer) if !is_v4 && is_link_local(*peer) => {}
                _ if is_v4 => return wrong(peer.span(), "expected an IPv4 address, as the VIP is"),
                _ => {
                    let message = "expected a link-local IPv6 address (fe80::…): adverts are sent from those";
                    return wrong(peer.span(), message);
                }
            }
        }
        Ok(Vip {
            address: address.into_inner(),
            vrid: vrid.into_inner(),
            priority: priority.into_inner(),
            advert_interval,
            preempt,
            checksum,
            unicast_peers: unicast_peers.into_iter().map(Spanned::into_inner).collect(),
            virtual_mac,
        })
    }
}

impl NotifyFile {
    fn check(file: Spanned<Self>, source: &Source) -> Result<Notify, ConfigError> {
        let span = file.span();
        match file.into_inner() {
            NotifyFile { command: Some(command), url: None } => {
                if !command.as_ref().is_absolute() {
                    let message = "expected the absolute path of a program, without arguments";
                    return Err(source.error_at(Some(command.span()), message));
                }
                Ok(Notify::Command(command.into_inner()))
            }
            NotifyFile { command: None, url: Some(url) } => {
                let parsed: Option<Uri> = url.as_ref().parse().ok();
                if !parsed.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some()) {
                    let message = "expected a URL such as http://192.168.10.1:9000/vip (https is not spoken)";
                    return Err(source.error_at(Some(url.span()), message));
                }
                Ok(Notify::Url(url.into_inner()))
            }
            _ => Err(source.error_at(Some(span), "expected either `command` or `url`")),
        }
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}
