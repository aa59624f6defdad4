//! The cluster's CA: the key that everything else is signed with. It is on one host only.

use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, PublicKeyData};
use sha2::{Digest, Sha256};
use wire::tls::Member;
use x509_parser::pem::parse_x509_pem;

use super::{AUTHORITY_LIFETIME, PkiError, hex, names, now, random};
use crate::address_pool::AddressRange;

/// The CA with its key.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new CA, and its key in PEM.
    ///
    /// # Errors
    ///
    /// When no keys can be made here.
    pub fn create() -> Result<(Self, String), PkiError> {
        let key = KeyPair::generate()?;
        let pem = key.serialize_pem();
        let name = format!("Holdfast cluster CA {}", hex(&random::<4>()?));
        let mut params = names::params(&name, now() + AUTHORITY_LIFETIME)?;
        // Below it one row of intermediates, which have none below them.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok((Authority { issuer: Issuer::from_ca_cert_pem(&certificate, key)?, certificate }, pem))
    }

    /// The CA that `manager init` left on this host.
    ///
    /// # Errors
    ///
    /// When the files cannot be used.
    pub fn load(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Authority { certificate: certificate.to_owned(), issuer })
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What certificates and lists of revocations are signed with.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// An intermediate for `member`, whose serial number is filled in; `request` has the key it is for and
    /// proves that whoever asks has it. Nothing else of the request counts.
    ///
    /// # Errors
    ///
    /// When the request is none, or the pool cannot be understood.
    pub fn certify(&self, member: &mut Member, request: &str) -> Result<String, PkiError> {
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| PkiError::Refused(format!("the request is no PKCS #10 in PEM: {error}")))?;
        self.certify_key(member, &request.public_key)
    }

    pub(super) fn certify_key(
        &self,
        member: &mut Member,
        key: &impl PublicKeyData,
    ) -> Result<String, PkiError> {
        let params = intermediate(member)?;
        member.serial = params.serial_number.as_ref().map(|serial| hex(serial.as_ref())).unwrap_or_default();
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

fn intermediate(member: &Member) -> Result<CertificateParams, PkiError> {
    let pool = ranges(&member.address_pool)?;
    let mut params = names::params(member.host.as_str(), now() + AUTHORITY_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(names::only(member.address, &pool)?);
    Ok(params)
}

/// The ranges of an address pool that came as text.
pub(super) fn ranges(texts: &[String]) -> Result<Vec<AddressRange>, PkiError> {
    texts.iter().map(|text| text.parse()).collect::<Result<_, String>>().map_err(PkiError::Refused)
}

/// What a CA is known by: the SHA-256 of its certificate, in hexadecimal.
///
/// # Errors
///
/// When it is no certificate in PEM.
pub fn fingerprint(certificate: &str) -> Result<String, PkiError> {
    let (_, pem) = parse_x509_pem(certificate.as_bytes())
        .map_err(|error| PkiError::Damaged(format!("the CA's certificate is no PEM: {error}")))?;
    Ok(hex(&Sha256::digest(&pem.contents)))
}
