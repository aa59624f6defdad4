//! The ACME server, and the names it knows, on the client of a lab.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::lab::{Lab, VIP, read};
use crate::run::eventually;

/// Where it is.
const ADDRESS: &str = "192.168.10.100";

pub(crate) struct Server {
    directory: TempDir,
    settings: String,
}

impl Server {
    /// Its files, and the settings of hosts that get `certificates` from it.
    pub(crate) fn make(certificates: &str) -> Self {
        Self::make_for(certificates, Duration::from_secs(90 * 86_400))
    }

    /// The same, of one whose certificates are good for `validity`.
    pub(crate) fn make_for(certificates: &str, validity: Duration) -> Self {
        let directory = tempfile::Builder::new().prefix("holdfast-acme-").tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        let mut params = CertificateParams::default();
        // Another name than that of what it signs, which would look as if it had signed itself.
        params.distinguished_name.push(DnType::CommonName, "The server's CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec![ADDRESS.to_owned()]).expect("an address");
        write("ca.pem", &ca.pem());
        write("own.pem", &own.signed_by(&key, &ca).expect("signed").pem());
        write("own.key", &key.serialize_pem());
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("{ADDRESS}:14000"),
            "managementListenAddress": format!("{ADDRESS}:15000"),
            "certificate": at("own.pem"),
            "privateKey": at("own.key"),
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": validity.as_secs(),
        }});
        write("pebble.json", &config.to_string());
        write(
            "settings.toml",
            &format!(
                "\n[[listener]]\naddress = \"0.0.0.0:80\"\n\n[[listener]]\naddress = \"0.0.0.0:443\"\n[listener.tls]\n\n\
                 [acme]\ndirectory = \"https://{ADDRESS}:14000/dir\"\nca_file = {:?}\n\
                 contact = [\"mailto:somebody@example.org\"]\nterms_of_service_agreed = true\n{certificates}\n",
                at("ca.pem")
            ),
        );
        let settings = at("settings.toml");
        Server { directory, settings }
    }

    /// What is added to the hosts' configurations, as a file.
    pub(crate) fn settings(&self) -> &str {
        &self.settings
    }

    /// Starts it, and the name server that it asks: every name is the public address, but that of a wrong one. Both end
    /// with the lab.
    pub(crate) fn start(&self, lab: &Lab) {
        let at = self.directory.path().display();
        let names =
            "pebble-challtestsrv -dns01 127.0.0.1:8053 -http01 '' -https01 '' -tlsalpn01 '' -defaultIPv6 ''";
        let script = format!(
            "{names} -defaultIPv4 {VIP} -management 127.0.0.1:8055 >{at}/names.log 2>&1 & \
             PEBBLE_VA_NOSLEEP=1 pebble -config {at}/pebble.json -dnsserver 127.0.0.1:8053 >{at}/pebble.log 2>&1 &"
        );
        lab.exec("client", &["sh", "-c", &script]).ok();
        let wrong = r#"{"host": "wrong.example.org", "addresses": ["127.0.0.9"]}"#;
        eventually("the name server answers", || {
            let words = ["curl", "-sf", "-m", "2", "-d", wrong, "http://127.0.0.1:8055/add-a"];
            (lab.exec("client", &words).code == Some(0)).then_some(())
        });
    }

    /// The root of what it issues, as a file.
    pub(crate) fn root(&self, lab: &Lab) -> PathBuf {
        let root = self.directory.path().join("root.pem");
        let url = format!("https://{ADDRESS}:15000/roots/0");
        let ca = self.directory.path().join("ca.pem").display().to_string();
        let text = lab.exec("client", &["curl", "-sS", "-m", "10", "--cacert", &ca, &url]).ok();
        fs::write(&root, text).expect("written");
        root
    }

    /// How many certificates it issued.
    pub(crate) fn orders(&self) -> usize {
        self.logged("Issued certificate serial")
    }

    /// How many accounts it was asked to make.
    pub(crate) fn accounts(&self) -> usize {
        self.logged("accounts in memory")
    }

    fn logged(&self, what: &str) -> usize {
        let log = read(&self.directory.path().join("pebble.log"));
        let found = log.lines().filter(|line| line.contains(what)).count();
        println!("{found} times {what:?}");
        found
    }
}
