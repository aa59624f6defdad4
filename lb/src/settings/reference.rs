//! The part of `docs/configuration.md` about the balancer's file is made of the types that read it, and the examples of all
//! pages are what they read.

use doc_checks::{pages, reference, section};
use kit::config::Source;

use super::{File, Settings};

const FILE: &str = "lb.toml";

#[test]
fn the_reference_is_made_of_the_types_that_read_the_file() {
    let schema = schemars::schema_for!(File).to_value();
    section::check(&pages::root().join("docs/configuration.md"), FILE, &reference::made(FILE, &schema));
}

/// What a manager pushes is of the same types.
#[test]
fn so_is_that_of_what_is_pushed() {
    let pushed = schemars::schema_for!(wire::proxy_config::ProxyConfig).to_value();
    let outline = reference::outline("PUT /config", &pushed, FILE, &schemars::schema_for!(File).to_value());
    section::check(&pages::root().join("docs/configuration.md"), "PUT /config", &outline);
}

#[test]
fn every_example_is_accepted() {
    let folder = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["www.example.org".to_owned()]).expect("a certificate");
    for (name, content) in [
        ("sorry.html", "<h1>Sorry</h1>".to_owned()),
        ("chain.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    for example in pages::examples(FILE) {
        // Where the files of an example are is not the same here.
        let mut text: String = example
            .text
            .lines()
            .map(|line| {
                let line = match line.trim_start().split_once(" = \"/etc/") {
                    Some((key, _)) if key.ends_with("_file") => {
                        format!("{key} = {:?}", file(if key == "key_file" { "key.pem" } else { "chain.pem" }))
                    }
                    _ => line.to_owned(),
                };
                line + "\n"
            })
            .collect();
        if !text.lines().any(|line| line.starts_with("machine = ")) {
            text = format!("machine = \"lb\"\naddress = \"192.168.10.10\"\n{text}");
        }
        let source = Source::from_text(folder.path().join(FILE), &text);
        Settings::check(&source, true).unwrap_or_else(|error| panic!("{}\n{error}", example.place));
    }
}
