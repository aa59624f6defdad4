//! Certificates in files that somebody else renews: read again and again, and taken when they are whole.

use std::collections::BTreeMap;
use std::path::Path;

use kit::config::read_pem;
use wire::balancing::Secret;
use wire::certificates::Certificate;

use super::pem;
use crate::config::CertificateFiles;

/// What the files contained when they were last whole, by their names.
pub(super) type Read = BTreeMap<String, Certificate>;

/// Under which name the content of `files` is kept.
pub(super) fn name(files: &CertificateFiles) -> String {
    format!("{}\n{}", files.chain_file.display(), files.key_file.display())
}

/// Reads all of `files`. Those that cannot be used are left as they were in `held`: while they are being replaced, a
/// chain may stand beside the key of the one before it. Says what is wrong with which.
pub(super) fn read(files: &[CertificateFiles], held: &Read) -> (Read, Vec<String>) {
    let (mut all, mut troubles) = (Read::new(), Vec::new());
    for files in files {
        let name = name(files);
        match read_one(files) {
            Ok(certificate) => _ = all.insert(name, certificate),
            Err(error) => {
                let before = held.get(&name);
                let so = if before.is_some() { "the one before it stays in use" } else { "it is not in use" };
                troubles.push(format!("certificate {}: {error}; {so}", files.chain_file.display()));
                all.extend(before.map(|before| (name, before.clone())));
            }
        }
    }
    (all, troubles)
}

fn read_one(files: &CertificateFiles) -> Result<Certificate, String> {
    let chain = text(&files.chain_file)?;
    let key = Secret(text(&files.key_file)?);
    let certificate = Certificate { chain, key, ocsp: None };
    pem::look(&certificate).map(|_| certificate)
}

fn text(path: &Path) -> Result<String, String> {
    read_pem(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kit::config::MAX_PEM;

    use super::super::pem::tests::made;
    use super::*;

    #[test]
    fn a_pair_that_is_half_replaced_waits_for_the_other_half() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = [CertificateFiles {
            chain_file: directory.path().join("chain.pem"),
            key_file: directory.path().join("key.pem"),
        }];
        let (held, troubles) = read(&files, &Read::new());
        assert!(held.is_empty() && troubles[0].contains("it is not in use"), "{troubles:?}");
        let (first, second) = (made(&["a.example"]), made(&["a.example"]));
        let write = |chain: &str, key: &str| {
            fs::write(&files[0].chain_file, chain).expect("written");
            fs::write(&files[0].key_file, key).expect("written");
        };
        write(&first.chain, &first.key.0);
        let (held, troubles) = read(&files, &held);
        assert_eq!((held.values().collect::<Vec<_>>(), troubles), (vec![&first], vec![]));
        write(&second.chain, &first.key.0);
        let (held, troubles) = read(&files, &held);
        assert_eq!(held.values().collect::<Vec<_>>(), [&first]);
        assert!(troubles[0].contains("the one before it stays in use"), "{troubles:?}");
        write(&second.chain, &second.key.0);
        assert_eq!(read(&files, &held).0.values().collect::<Vec<_>>(), [&second]);
        assert!(read(&[], &held).0.is_empty(), "what is not configured any more is not used any more");
        fs::write(&files[0].key_file, vec![b'a'; MAX_PEM as usize + 1]).expect("written");
        let (_, troubles) = read(&files, &held);
        assert!(troubles[0].contains("more than 1048576 bytes"), "{troubles:?}");
    }
}
