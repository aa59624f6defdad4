//! Refuses environments and secrets that a program cannot be given, without ever repeating a value.

use wire::service::ServiceSpec;

use super::{Fit, ensure};

/// The most variables, and the most secrets.
const MAX_ENTRIES: usize = 100;

/// The longest name of either, in bytes.
const MAX_NAME: usize = 100;

/// The largest value of a variable, in bytes: the kernel takes no more than 128 KiB for one.
const MAX_VARIABLE: usize = 32 << 10;

/// The largest secret, in bytes.
pub(super) const MAX_SECRET: usize = 256 << 10;

/// The largest sum of all, in bytes: a seed disk is kept in memory while it is written.
const MAX_TOTAL: usize = 1 << 20;

/// Whether a program can be given what `spec` has for it.
pub(super) fn check(spec: &ServiceSpec) -> Fit {
    for (field, count) in [("environment", spec.environment.len()), ("secrets", spec.secrets.len())] {
        ensure(count <= MAX_ENTRIES, field, || format!("expected at most {MAX_ENTRIES}"))?;
    }
    let mut total = 0;
    for (name, value) in &spec.environment {
        let field = format!("environment.{name}");
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(letters)
            && !name.starts_with(|first: char| first.is_ascii_digit());
        ensure(is_name, &field, || {
            format!("expected the name of a variable: at most {MAX_NAME} letters, digits and underscores")
        })?;
        ensure(name != guest::program::CREDENTIALS, &field, || {
            "says where `secrets` are, and is set by the machine: choose another name".to_owned()
        })?;
        let fits = value.0.len() <= MAX_VARIABLE && !value.0.contains('\0');
        ensure(fits, &field, || {
            format!("expected a text of at most {MAX_VARIABLE} bytes, without a zero byte")
        })?;
        total += value.0.len();
    }
    for (name, secret) in &spec.secrets {
        let field = format!("secrets.{name}");
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name =
            (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(letters) && !name.starts_with('.');
        ensure(is_name, &field, || {
            format!(
                "expected the name of a file: at most {MAX_NAME} letters, digits, dots, underscores and hyphens"
            )
        })?;
        ensure(secret.file.is_none(), &field, || {
            "files are named in files only: give the secret as `value`, or use `manager service apply`"
                .to_owned()
        })?;
        let size = secret.value.as_ref().map_or(0, |value| value.0.len());
        ensure((1..=MAX_SECRET).contains(&size), &field, || {
            format!("expected a `value` of 1 to {MAX_SECRET} bytes")
        })?;
        total += size;
    }
    ensure(total <= MAX_TOTAL, "secrets", || {
        format!("environment and secrets have {total} bytes, of at most {MAX_TOTAL} together")
    })
}
