//! `tls` of a pool in the settings' file: as a configuration that is pushed has it, and its parts may also be in files of
//! their own.

use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source, read_pem};
use wire::balancing::Secret;
use wire::upstream_tls::{ClientCertificate, UpstreamTls};

use crate::proxy::upstream_tls;

/// Takes into `tls`, which is written at `place`, what its files contain, and looks whether it can be used: here and not
/// with the rest, as that knows nothing of files, and would show the line of a key.
pub(super) fn read(source: &Source, tls: &mut UpstreamTls, place: &str) -> Result<(), ConfigError> {
    let mut files = Vec::new();
    let mut take = |field: &'static str, is_given: bool, file: &mut Option<PathBuf>| {
        let Some(path) = file.take() else { return Ok(None) };
        let place = format!("{place}.{field}_file");
        if is_given {
            let name = field.rsplit('.').next().unwrap_or(field);
            let message = format!("expected either `{name}` or `{name}_file`, found both");
            return Err(source.error_in(&place, &message));
        }
        // Beside the settings, unless it says otherwise.
        let path = source.path().parent().unwrap_or(Path::new("")).join(path);
        let text = read_pem(&path)
            .map_err(|error| source.error_in(&place, &format!("{}: {error}", path.display())))?;
        files.push((field, place, path));
        Ok(Some(text))
    };
    let UpstreamTls { ca, ca_file, certificate, .. } = tls;
    if let Some(text) = take("ca", ca.is_some(), ca_file)? {
        *ca = Some(text);
    }
    if let Some(ClientCertificate { chain, chain_file, key, key_file }) = certificate {
        if let Some(text) = take("certificate.chain", chain.is_some(), chain_file)? {
            *chain = Some(text);
        }
        if let Some(text) = take("certificate.key", key.is_some(), key_file)? {
            *key = Some(Secret(text));
        }
    }
    let Err(unusable) = upstream_tls::check(tls) else { return Ok(()) };
    let in_place = format!("{place}.{}", unusable.field);
    Err(match files.into_iter().find(|(field, ..)| *field == unusable.field) {
        Some((_, place, path)) => {
            source.error_in(&place, &format!("{}: {}", path.display(), unusable.message))
        }
        // Without its place: the line would show the key.
        None if unusable.field == "certificate.key" => {
            source.error_at(None, &format!("{in_place}: {}", unusable.message))
        }
        None => source.error_in(&in_place, &unusable.message),
    })
}
