//! What a certificate's issuer says of it, shown to clients along with it ("stapled": RFC 6066, section 8), so that
//! they need not ask the issuer. It is looked at before it is shown: one that is of another certificate, or that says
//! anything but "good", would only keep clients away.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode as _;
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus};

/// A larger one is refused, in bytes: it is sent in every full handshake.
const MOST: usize = 16 << 10;

/// A response that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staple {
    /// As it is sent.
    pub(super) der: Vec<u8>,
    /// Clients believe it so long; none: it does not say.
    pub(super) until: Option<SystemTime>,
}

/// Reads the response in `text`, which has to be about the certificate with this serial number.
///
/// # Errors
///
/// Says what is expected instead.
pub(super) fn read(text: &str, serial: &[u8]) -> Result<Staple, String> {
    let base64: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.chars().filter(|c| !c.is_ascii_whitespace()))
        .collect();
    let der = STANDARD.decode(base64).map_err(|error| format!("expected base64: {error}"))?;
    if der.len() > MOST {
        return Err(format!("expected at most {MOST} bytes"));
    }
    let no_response =
        |error: &dyn std::fmt::Display| format!("expected an OCSP response (RFC 6960): {error}");
    let response = OcspResponse::from_der(&der).map_err(|error| no_response(&error))?;
    if response.response_status != OcspResponseStatus::Successful {
        let found = response.response_status;
        return Err(format!("expected a successful OCSP response, found {found:?}: ask the issuer again"));
    }
    let bytes = response.response_bytes.ok_or_else(|| no_response(&"it is empty"))?;
    let basic =
        BasicOcspResponse::from_der(bytes.response.as_bytes()).map_err(|error| no_response(&error))?;
    let ours = basic
        .tbs_response_data
        .responses
        .iter()
        .find(|single| without_zeros(single.cert_id.serial_number.as_bytes()) == without_zeros(serial))
        .ok_or("expected an OCSP response for this certificate, found one for another")?;
    match ours.cert_status {
        CertStatus::Good(_) => {}
        CertStatus::Revoked(_) => {
            return Err("the certificate is revoked, says its issuer: replace it".to_owned());
        }
        CertStatus::Unknown(_) => {
            return Err("the certificate is unknown, says its issuer: replace it".to_owned());
        }
    }
    let until = ours.next_update.as_ref().map(|time| UNIX_EPOCH + time.0.to_unix_duration());
    Ok(Staple { der, until })
}

impl Staple {
    /// Whether clients believe it now, and for `margin` from now on.
    pub(super) fn is_fresh(&self, now: SystemTime, margin: Duration) -> bool {
        self.until.is_none_or(|until| now + margin < until)
    }
}

/// A number that begins with a bit is written with a zero ahead, which not everybody keeps.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_response_is_refused_and_time_ends_one() {
        for (text, expected) in [
            ("not base64!", "expected base64"),
            ("AAAA", "expected an OCSP response"),
            // SEQUENCE { ENUMERATED tryLater }
            (
                "-----BEGIN OCSP RESPONSE-----\nMAMKAQM=\n-----END OCSP RESPONSE-----\n",
                "expected a successful",
            ),
            ("MAMKAQA=", "expected an OCSP response (RFC 6960): it is empty"),
        ] {
            let error = read(text, &[1]).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
        let until = UNIX_EPOCH + Duration::from_secs(1_000);
        let staple = Staple { der: Vec::new(), until: Some(until) };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(staple.is_fresh(at(989), Duration::from_secs(10)));
        assert!(!staple.is_fresh(at(990), Duration::from_secs(10)));
        assert_eq!(without_zeros(&[0, 0x80]), without_zeros(&[0x80]));
    }
}
