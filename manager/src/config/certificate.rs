//! The `[[certificate]]` parts of the configuration: certificates in files that somebody else renews.

use std::path::PathBuf;

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;

/// The most of them: with those of an ACME server they are fewer than a balancer takes.
const MAX_CERTIFICATES: usize = 500;

/// A certificate in files of this host, which are read again whenever they change. At most 500.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The absolute path of the certificate and then those that lead to a root that clients know, as PEM.
    pub chain_file: PathBuf,
    /// The absolute path of its private key, as PEM.
    pub key_file: PathBuf,
}

/// That the files are there is not asked for: a manager starts without them, and takes them when they come.
pub(super) fn check(
    source: &Source,
    files: Vec<Spanned<CertificateFiles>>,
) -> Result<Vec<CertificateFiles>, ConfigError> {
    let mut certificates: Vec<CertificateFiles> = Vec::new();
    for file in files {
        let (span, file) = (file.span(), file.into_inner());
        if let Some(relative) =
            [&file.chain_file, &file.key_file].into_iter().find(|path| !path.is_absolute())
        {
            let message = format!("expected a path that begins with /, found {}", relative.display());
            return Err(source.error_at(Some(span), &message));
        }
        if certificates.contains(&file) {
            return Err(source.error_at(Some(span), "another [[certificate]] has the same files"));
        }
        if certificates.len() == MAX_CERTIFICATES {
            let message = format!("expected at most {MAX_CERTIFICATES} certificates");
            return Err(source.error_at(Some(span), &message));
        }
        certificates.push(file);
    }
    Ok(certificates)
}
