//! A host's intermediate: certifies the host's manager and its balancer, and nobody else.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;
use wire::tls::{Credentials, Member};
use wire::{HostName, MachineId};

use super::{PkiError, authority, names, now};

/// The intermediate with its key.
pub struct Intermediate {
    host: HostName,
    address: IpAddr,
    pool: Vec<crate::address_pool::AddressRange>,
    ca: String,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Credentials, and when they are to be renewed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What was issued.
    pub credentials: Credentials,
    /// From then on others are to be used: after two thirds of their life.
    pub renew_at: OffsetDateTime,
}

impl Intermediate {
    /// The intermediate of the host that `member` describes.
    ///
    /// # Errors
    ///
    /// When the certificates or the key cannot be used.
    pub fn load(ca: &str, certificate: &str, key: &str, member: &Member) -> Result<Self, PkiError> {
        Ok(Intermediate {
            host: member.host.clone(),
            address: member.address,
            pool: authority::ranges(&member.address_pool)?,
            ca: ca.to_owned(),
            certificate: certificate.to_owned(),
            issuer: Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?,
        })
    }

    /// The host it belongs to.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Credentials for this host's manager: to be asked, and to ask.
    ///
    /// # Errors
    ///
    /// When they cannot be made.
    pub fn manager(&self, revocations: &str, lifetime: Duration) -> Result<Issued, PkiError> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let name = format!("manager of {}", self.host);
        self.issue(&name, self.address, vec![ServerAuth, ClientAuth], revocations, lifetime)
    }

    /// Credentials for this host's balancer: to be asked, by its manager. It asks nobody, and what is taken from
    /// it lets nobody change anything.
    ///
    /// # Errors
    ///
    /// When `address` is not of the pool that the CA was told.
    pub fn balancer(
        &self,
        machine: &MachineId,
        address: IpAddr,
        revocations: &str,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        if !self.pool.iter().any(|range| range.contains(address)) {
            return Err(PkiError::Refused(format!(
                "{address} is not of the address pool that host `{}` was let into the cluster with: certificates \
                 for it are believed by nobody. Let the host in anew with the new pool: docs/security.md says how",
                self.host
            )));
        }
        self.issue(
            machine.as_str(),
            address,
            vec![ExtendedKeyUsagePurpose::ServerAuth],
            revocations,
            lifetime,
        )
    }

    /// Issues without looking whether anybody will believe it.
    pub(super) fn issue(
        &self,
        name: &str,
        address: IpAddr,
        purposes: Vec<ExtendedKeyUsagePurpose>,
        revocations: &str,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = names::params(name, now() + lifetime)?;
        params.subject_alt_names = vec![names::address(address)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        let leaf = params.signed_by(&key, &self.issuer)?.pem();
        let credentials = Credentials {
            host: self.host.clone(),
            ca: self.ca.clone(),
            chain: format!("{leaf}{}", self.certificate),
            key: key.serialize_pem(),
            revocations: revocations.to_owned(),
        };
        Ok(Issued { credentials, renew_at: now() + lifetime * 2 / 3 })
    }
}
