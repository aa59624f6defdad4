//! Files that settings name: certificates, keys, pages.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// What is in the file at `path`, of `most` bytes at most.
///
/// # Errors
///
/// A message without the path, where there is no such file, where it may not be read, has more bytes or is a directory,
/// a pipe or a device.
pub fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    // Others may never end.
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("it has more than {most} bytes"));
    }
    Ok(bytes)
}

/// The PEM text in the file at `path`, of 1 MiB at most.
///
/// # Errors
///
/// As [`read_file`], and where the bytes are no text.
pub fn read_pem(path: &Path) -> Result<String, String> {
    as_pem(read_file(path, MAX_PEM)?)
}

/// A larger file is no certificate and no key, in bytes.
pub const MAX_PEM: u64 = 1 << 20;

/// `bytes` as the text that PEM is.
///
/// # Errors
///
/// Where they are no text.
pub fn as_pem(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "expected PEM, found bytes that are no text".to_owned())
}
