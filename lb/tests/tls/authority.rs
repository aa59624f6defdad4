//! A CA of a test's own, and its certificates as files and as texts.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A CA with a directory for all that it makes.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as texts and as files.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) chain_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("key");
        std::fs::create_dir_all(std::env::temp_dir()).expect("directory");
        let directory = tempfile::tempdir().expect("directory");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("written");
        std::fs::write(directory.path().join("ca.key"), issuer.key().serialize_pem()).expect("written");
        Authority { directory, issuer }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The CA's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// A server's certificate for `names`.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        self.issue(names, "server", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate with this name.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(&[], name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server's certificate for `names` that was good until the beginning of 2001.
    #[allow(dead_code)] // of the test programs that share this file, one has use for it
    pub(crate) fn expired(&self, names: &[&str]) -> Issued {
        let (from, until) = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
        self.issue_with(names, "server", ExtendedKeyUsagePurpose::ServerAuth, |params| {
            (params.not_before, params.not_after) = (from, until);
        })
    }

    fn issue(&self, names: &[&str], common: &str, purpose: ExtendedKeyUsagePurpose) -> Issued {
        self.issue_with(names, common, purpose, |_| {})
    }

    fn issue_with(
        &self,
        names: &[&str],
        common: &str,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate().expect("key");
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
                .expect("names");
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let chain = params.signed_by(&key, &self.issuer).expect("signed").pem();
        self.keep(chain, key.serialize_pem())
    }

    /// Writes both to files.
    pub(crate) fn keep(&self, chain: String, key: String) -> Issued {
        let count = std::fs::read_dir(self.path()).expect("directory").count();
        let [chain_file, key_file] = ["pem", "key"].map(|kind| self.path().join(format!("{count}.{kind}")));
        std::fs::write(&chain_file, &chain).expect("written");
        std::fs::write(&key_file, &key).expect("written");
        Issued { chain, key, chain_file, key_file }
    }
}

impl Issued {
    /// As `PUT /config` has it.
    pub(crate) fn json(&self) -> Value {
        json!({"chain": self.chain, "key": self.key})
    }

    /// As the settings' file has it.
    pub(crate) fn toml(&self) -> String {
        format!(
            "[[config.certificates]]\nchain_file = {:?}\nkey_file = {:?}\n",
            self.chain_file, self.key_file
        )
    }
}
