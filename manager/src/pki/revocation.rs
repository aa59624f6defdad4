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

/// The first list: nobody is revoked.
///
/// # Errors
///
/// When it cannot be signed.
pub fn first(authority: &Authority) -> Result<String, PkiError> {
    list(authority, 1, Vec::new())
}

/// The list that follows `held`, in PEM: whoever is on that, and the revoked ones of `members`. A CA that was put
/// back from a copy may not know of all who were revoked since.
///
/// # Errors
///
/// When `held` is no list of this CA, or a serial number cannot be understood.
pub fn next(authority: &Authority, held: &str, members: &[Member]) -> Result<String, PkiError> {
    let number = number(held, authority.certificate())?;
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
    let unusable = || PkiError::Damaged("the list of revocations that is held cannot be read".to_owned());
    let (_, held) = parse_x509_pem(held.as_bytes()).map_err(|_| unusable())?;
    let (_, held) = CertificateRevocationList::from_der(&held.contents).map_err(|_| unusable())?;
    for entry in held.iter_revoked_certificates() {
        let serial_number = SerialNumber::from_slice(entry.raw_serial());
        if revoked_certs.iter().all(|known| known.serial_number != serial_number) {
            revoked_certs.push(RevokedCertParams {
                serial_number,
                revocation_time: entry.revocation_date.to_datetime(),
                reason_code: Some(RevocationReason::CessationOfOperation),
                invalidity_date: None,
            });
        }
    }
    list(authority, number + 1, revoked_certs)
}

/// It does not run out: a newer one has a higher number.
fn list(
    authority: &Authority,
    number: u64,
    revoked_certs: Vec<RevokedCertParams>,
) -> Result<String, PkiError> {
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
