//! The part of `docs/configuration.md` about the manager's file is made of the types that read it, and the examples of all
//! pages, and those that `deploy` has for real hosts, are what they read.

use std::os::unix::fs::PermissionsExt as _;

use doc_checks::{pages, reference, section};
use kit::config::Source;

use super::{Config, File};

const FILE: &str = "manager.toml";

/// What an example that shows one thing is added to.
const REST: &str = "name = \"a\"\naddress = \"192.168.10.1\"\ngateway = \"192.168.10.1\"\nhypervisor = \"libvirt\"\n\
                    address_pool = [\"192.168.10.10-192.168.10.16\"]\n";

#[test]
fn the_reference_is_made_of_the_types_that_read_the_file() {
    let schema = schemars::schema_for!(File).to_value();
    section::check(&pages::root().join("docs/configuration.md"), FILE, &reference::made(FILE, &schema));
}

#[test]
fn every_example_is_accepted() {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("closed.html"), "<h1>Closed</h1>").expect("written");
    let key = folder.path().join("db.key");
    std::fs::write(&key, "a key").expect("written");
    // What everybody may read is no secret.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("for nobody else");
    for example in pages::examples(FILE) {
        let is_whole = example.text.lines().any(|line| line.starts_with("hypervisor = "));
        let text = if is_whole { example.text } else { format!("{REST}{}", example.text) };
        // Where the files of an example are is not the same here.
        let text = text.replace("/etc/holdfast/secrets", &folder.path().display().to_string());
        Config::check(&Source::from_text(folder.path().join(FILE), &text))
            .unwrap_or_else(|error| panic!("{}\n{error}", example.place));
    }
}

/// Two hosts that would be started with them become one cluster: what has to be alike is, and what must differ does.
#[test]
fn the_files_of_two_hosts_fit_each_other() {
    for folder in ["deploy/hosts", "deploy/profiles"] {
        let [a, b] = ["a", "b"].map(|host| {
            let path = match folder {
                "deploy/hosts" => format!("{folder}/{host}/manager.toml"),
                _ => format!("{folder}/host-{host}.toml"),
            };
            Config::load(&pages::root().join(&path)).unwrap_or_else(|error| panic!("{error}"))
        });
        assert_eq!((&a.peers[..], &b.peers[..]), (&[b.address][..], &[a.address][..]), "{folder}");
        assert_eq!((a.network, a.api_port, a.tls_port), (b.network, b.api_port, b.tls_port), "{folder}");
        assert!(!a.pool.addresses().iter().any(|address| b.pool.contains(*address)), "{folder}: pools apart");
        assert_ne!(a.name, b.name, "{folder}");
        let vips =
            |config: &Config| config.vips.iter().map(|vip| (vip.address, vip.vrid)).collect::<Vec<_>>();
        assert_eq!(vips(&a), vips(&b), "{folder}");
        for (one, other) in a.vips.iter().zip(&b.vips) {
            assert_ne!(one.preference, other.preference, "{folder}: one is preferred");
        }
    }
}
