//! The list of hosts that are not believed any more: signed by the CA, and held by everybody.

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;
use wire::tls::Member;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::authority::Authority;
use super::{AUTHORITY_LIFETIME, PkiError, now, unhex};

/// The largest list that is taken, in bytes: that of some ten thousand hosts.
pub const MAX_LIST: usize = 1 << 20;

/// The list number `number` with the revoked ones of `members`, in PEM. It does not run out: a newer one has a
/// higher number.
///
/// # Errors
///
/// When a serial number cannot be understood.
pub fn list(authority: &Authority, number: u64, members: &[Member]) -> Result<String, PkiError> {
    let mut revoked_certs = Vec::new();
    for member in members {
        let Some(at) = member.revoked_s else { continue };
        let damaged = || PkiError::Damaged(format!("the record of host `{}` is damaged", member.host));
        let serial = unhex(&member.serial).ok_or_else(damaged)?;
        let at = i64::try_from(at).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: at.ok_or_else(damaged)?,
            reason_code: Some(RevocationReason::CessationOfOperation),
            invalidity_date: None,
        });
    }
    let params = CertificateRevocationListParams {
        this_update: now(),
        next_update: now() + AUTHORITY_LIFETIME,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(authority.issuer())?.pem()?)
}

/// The number of the list in `pem`, which must be signed by the CA whose certificate is `ca`.
///
/// # Errors
///
/// When it is not.
pub fn number(pem: &str, ca: &str) -> Result<u64, PkiError> {
    let unusable =
        |why: String| PkiError::Refused(format!("this is no list of revocations of this cluster: {why}"));
    if pem.len() > MAX_LIST {
        return Err(unusable(format!("it has more than {MAX_LIST} bytes")));
    }
    let (_, list) = parse_x509_pem(pem.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    let (_, list) =
        CertificateRevocationList::from_der(&list.contents).map_err(|error| unusable(error.to_string()))?;
    let (_, ca) = parse_x509_pem(ca.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    let ca = ca.parse_x509().map_err(|error| unusable(error.to_string()))?;
    list.verify_signature(ca.public_key()).map_err(|_| unusable("the CA has not signed it".to_owned()))?;
    let number = list.crl_number().and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| unusable("it has no number".to_owned()))
}
