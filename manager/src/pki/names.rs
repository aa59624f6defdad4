//! The names in certificates, and what an intermediate may certify.

use std::net::IpAddr;

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};
use rcgen::{CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, NameConstraints};
use rcgen::{SanType, SerialNumber};
use time::OffsetDateTime;

use super::{BACKDATED, PkiError, now, random};
use crate::address_pool::AddressRange;

/// The most networks in a certificate. Each has 14 bytes, or 38 where it is of IPv6, and every handshake carries them.
const MAX_SUBTREES: usize = 512;

const ORGANISATION: &str = "Holdfast";

/// What all our certificates have in common: a random serial number and a beginning that allows for clocks
/// that differ.
pub(super) fn params(common_name: &str, until: OffsetDateTime) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANISATION);
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = now() - BACKDATED;
    params.not_after = until;
    params.serial_number = Some(serial()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 16 random bytes, positive (RFC 5280, section 4.1.2.2).
fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The address that a certificate is for.
pub(super) fn address(address: IpAddr) -> SanType {
    SanType::IpAddress(address)
}

/// Certificates for these addresses and for no names (RFC 5280, section 4.2.1.10). Unless a form of names is
/// mentioned, it is free: so names are excluded, all of them.
///
/// # Errors
///
/// When the pool is in too many pieces.
pub(super) fn only(address: IpAddr, pool: &[AddressRange]) -> Result<NameConstraints, PkiError> {
    let permitted_subtrees: Vec<GeneralSubtree> = std::iter::once(IpNet::from(address))
        .chain(pool.iter().filter_map(networks).flatten())
        .map(|net| {
            GeneralSubtree::IpAddress(match net {
                IpNet::V4(net) => CidrSubnet::V4(net.addr().octets(), net.netmask().octets()),
                IpNet::V6(net) => CidrSubnet::V6(net.addr().octets(), net.netmask().octets()),
            })
        })
        .collect();
    if permitted_subtrees.len() > MAX_SUBTREES {
        return Err(PkiError::Refused(format!(
            "the address pool is made of {} networks, and a certificate has room for {MAX_SUBTREES}: use fewer and \
             larger ranges",
            permitted_subtrees.len() - 1
        )));
    }
    Ok(NameConstraints {
        permitted_subtrees,
        excluded_subtrees: vec![GeneralSubtree::DnsName(String::new())],
    })
}

/// The fewest networks that together are `range`. Both its ends are of one family.
fn networks(range: &AddressRange) -> Option<IpSubnets> {
    match (range.first(), range.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Some(IpSubnets::V4(Ipv4Subnets::new(first, last, 0))),
        (IpAddr::V6(first), IpAddr::V6(last)) => Some(IpSubnets::V6(Ipv6Subnets::new(first, last, 0))),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}
