//! Files that a service's definition names: they are read where the definition is written, so that a manager that is
//! told of it needs none.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source, read_file};
use serde::Deserialize;
use wire::balancing::Secret;
use wire::service::{Probe, SecretFile, ServiceSpec};

use super::routes::MAX_PAGE;
use super::secrets::MAX_SECRET;
use super::{Fit, Misfit, ensure};

/// Who else may read a secret's file.
const OTHERS_READ: u32 = 0o004;

/// A file with services, as `manager service apply` takes it: what it may have besides is not looked at.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    service: Vec<ServiceSpec>,
}

/// The services that the file `source` defines, with what is in the files that they name.
///
/// # Errors
///
/// At the first place that cannot be used.
pub fn read_services(source: &Source) -> Result<Vec<ServiceSpec>, ConfigError> {
    let File { service: mut specs } = source.parse()?;
    for (index, spec) in specs.iter_mut().enumerate() {
        load_files(spec, source.path()).map_err(|misfit| {
            source.error_in(&format!("service[{index}].{}", misfit.field), &misfit.message)
        })?;
    }
    Ok(specs)
}

/// Puts what is in the files that `spec` names in their place. Relative names begin beside the file at `beside`.
///
/// # Errors
///
/// The first file that cannot be read, and a secret's that everybody may read.
pub fn load_files(spec: &mut ServiceSpec, beside: &Path) -> Fit {
    let place = |file: &Path| beside.parent().map_or_else(|| file.to_owned(), |parent| parent.join(file));
    for (name, secret) in &mut spec.secrets {
        load_secret(secret, &format!("secrets.{name}"), place)?;
    }
    if let Some(probe) = &mut spec.readiness {
        load_probe(probe, place)?;
    }
    for (status, page) in &mut spec.error_pages {
        let Some(file) = page.file.take() else { continue };
        let field = format!("error_pages.{status}.file");
        ensure(page.body.is_none(), &field, || "expected `file` or `body`, found both".to_owned())?;
        page.body = Some(read_text(&place(&file), MAX_PAGE).map_err(|why| Misfit::new(field, why))?);
    }
    Ok(())
}

/// What the files of a readiness probe contain: of a password without the line's end that editors put there.
fn load_probe(probe: &mut Probe, place: impl Fn(&Path) -> PathBuf) -> Fit {
    if let Some(password) = &mut probe.password {
        let is_file = password.file.is_some();
        load_secret(password, "readiness.password", &place)?;
        if let Some(Secret(text)) = password.value.as_mut().filter(|_| is_file) {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
    }
    let Some(file) = probe.ca_file.take() else { return Ok(()) };
    let field = "readiness.ca_file";
    ensure(probe.ca.is_none(), field, || "expected `ca_file` or `ca`, found both".to_owned())?;
    probe.ca = Some(read_text(&place(&file), MAX_SECRET).map_err(|why| Misfit::new(field, why))?);
    Ok(())
}

fn load_secret(secret: &mut SecretFile, field: &str, place: impl Fn(&Path) -> PathBuf) -> Fit {
    let Some(file) = secret.file.take() else { return Ok(()) };
    ensure(secret.value.is_none(), field, || "expected `file` or `value`, found both".to_owned())?;
    let path = place(&file);
    let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.mode());
    ensure(mode & OTHERS_READ == 0, field, || {
        format!("everybody may read {}: chmod o= it first", path.display())
    })?;
    let text = read_text(&path, MAX_SECRET).map_err(|why| Misfit::new(field, why))?;
    secret.value = Some(Secret(text));
    Ok(())
}

fn read_text(path: &Path, most: usize) -> Result<String, String> {
    let bytes =
        read_file(path, most as u64).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    String::from_utf8(bytes)
        .map_err(|_| format!("{}: expected text (UTF-8); write bytes as base64", path.display()))
}
