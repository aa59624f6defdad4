//! The part of `docs/configuration.md` about scenarios is made of the types that read them and of what `--help` says, and the
//! examples of all pages are what they read.

use clap::CommandFactory as _;
use doc_checks::{pages, reference, section};
use serde_json::Value;

use crate::options::Options;

const FILE: &str = "scenario.toml";

/// Puts in the place of `As --rate.` what `--help` says of `--rate`.
fn explain(schema: &mut Value) {
    match schema {
        Value::Object(keys) => {
            if let Some(Value::String(text)) = keys.get_mut("description")
                && let Some(rest) = text.strip_prefix("As `--")
            {
                let (name, end) = rest.split_once('`').expect("an option's name");
                let command = Options::command();
                let option = command.get_arguments().find(|option| option.get_long() == Some(name));
                let option = option.unwrap_or_else(|| panic!("there is no --{name}"));
                let help =
                    option.get_long_help().or(option.get_help()).expect("every option has help").to_string();
                let help = help
                    .replace("[default:", "(unless said: ")
                    .replace("said:  ", "said: ")
                    .replace(']', ")");
                *text = format!("{}. As `--{name}`{end}", help.trim_end_matches('.'));
            }
            keys.values_mut().for_each(explain);
        }
        Value::Array(all) => all.iter_mut().for_each(explain),
        _ => {}
    }
}

#[test]
fn the_reference_is_made_of_the_types_that_read_the_file() {
    let mut schema = schemars::schema_for!(super::Scenario).to_value();
    explain(&mut schema);
    section::check(&pages::root().join("docs/configuration.md"), FILE, &reference::made(FILE, &schema));
}

#[test]
fn every_example_is_accepted() {
    let folder = std::env::temp_dir().join(format!("holdfast-examples-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory");
    for example in pages::examples(FILE) {
        let file = folder.join(FILE);
        std::fs::write(&file, &example.text).expect("written");
        super::read(&file).unwrap_or_else(|error| panic!("{}\n{error}", example.place));
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}
