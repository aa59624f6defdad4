//! What somebody makes who has a host's key and no scruples.

use std::fs;
use std::net::IpAddr;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use time::{Duration, OffsetDateTime};
use wire::tls::Credentials;

use crate::stage::{Host, read};

/// Credentials that `host`'s intermediate signed for `address`, whatever the CA allowed it.
pub(crate) fn credentials_for(host: &Host, address: IpAddr) -> Credentials {
    leaf(host, |params| params.subject_alt_names = vec![SanType::IpAddress(address)])
}

/// Credentials of `host` that were good until an hour ago.
pub(crate) fn expired_credentials(host: &Host) -> Credentials {
    let address = host.address;
    leaf(host, |params| {
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        params.not_before = OffsetDateTime::now_utc() - Duration::hours(2);
        params.not_after = OffsetDateTime::now_utc() - Duration::hours(1);
    })
}

/// Credentials of `host` that call themselves the manager of `other`.
pub(crate) fn credentials_called(host: &Host, other: &str) -> Credentials {
    let (address, name) = (host.address, other.to_owned());
    leaf(host, |params| {
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        params.distinguished_name.push(DnType::CommonName, name);
    })
}

fn leaf(host: &Host, shape: impl FnOnce(&mut CertificateParams)) -> Credentials {
    let pki = host.state().join("pki");
    let file = |name: &str| read(&pki.join(name));
    let key = KeyPair::from_pem(&file("host-ca.key")).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&file("host-ca.pem"), key).expect("an intermediate");
    let mut params = CertificateParams::default();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    shape(&mut params);
    let key = KeyPair::generate().expect("a key");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate").pem();
    Credentials {
        host: host.name.as_str().into(),
        ca: file("ca.pem"),
        chain: format!("{leaf}{}", file("host-ca.pem")),
        key: key.serialize_pem(),
        revocations: file("revocations.pem"),
    }
}

/// The mode of a file or directory.
pub(crate) fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}
