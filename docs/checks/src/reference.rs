//! The reference of a program's settings, made of the JSON schema of the types that read them: a table of keys for each
//! table of the file, with type, default and meaning. What a type means is said once, where it is first met.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::kind::{Kind, literal};

/// A table that is to be described.
struct Part<'a> {
    path: String,
    is_list: bool,
    kind: Kind<'a>,
}

impl<'a> Part<'a> {
    /// Those that have to be there, then the others; each by the alphabet.
    fn keys(&self) -> Vec<(&'a String, &'a Value)> {
        let mut keys: Vec<_> = self.kind.keys().into_iter().flatten().collect();
        keys.sort_by_key(|(key, _)| (!self.needs(key), *key));
        keys
    }

    fn needs(&self, key: &str) -> bool {
        self.kind.schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key))
    }

    fn title(&self, file: &str) -> String {
        match (self.path.as_str(), self.is_list) {
            ("", _) => format!("`{file}`"),
            (path, false) => format!("{file}: `[{path}]`"),
            (path, true) => format!("{file}: `[[{path}]]`"),
        }
    }
}

/// The reference of `file`, such as `lb.toml`, whose type has this schema (of `schemars`, with `$defs`).
///
/// # Panics
///
/// Where a key has no meaning: nobody wrote a comment.
#[must_use]
pub fn made(file: &str, schema: &Value) -> String {
    let parts = parts(schema);
    let anchors = anchors(file, &parts);
    let mut page = String::new();
    for part in &parts {
        let meaning = part.kind.schema["description"].as_str().filter(|_| !part.path.is_empty());
        let meaning = meaning.map(|meaning| format!("{}\n\n", plain(meaning))).unwrap_or_default();
        page += &format!("### {}\n\n{meaning}{}\n", part.title(file), table(part, file, &anchors));
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// The outermost table of a document that is made of the same types as `file`, whose reference has the others.
///
/// # Panics
///
/// As [`made`].
#[must_use]
pub fn outline(document: &str, schema: &Value, file: &str, of_file: &Value) -> String {
    let root = Part { path: String::new(), is_list: false, kind: Kind::of(definitions(schema), schema) };
    table(&root, document, &anchors(file, &parts(of_file)))
}

fn definitions(schema: &Value) -> &Map<String, Value> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    schema["$defs"].as_object().unwrap_or(&NONE)
}

/// Where each type with a name is described, as a link.
fn anchors(file: &str, parts: &[Part<'_>]) -> BTreeMap<String, String> {
    let link = |part: &Part| {
        let name = part.kind.name?.to_owned();
        Some((name, format!("[`{}`](#{})", shown(part), anchor(&part.title(file)))))
    };
    parts.iter().filter_map(link).collect()
}

/// The keys of one table.
fn table(part: &Part, file: &str, anchors: &BTreeMap<String, String>) -> String {
    let link = |name: &str| anchors.get(name).cloned();
    let mut table = "| key | type | default | |\n|---|---|---|---|\n".to_owned();
    for (key, value) in part.keys() {
        let kind = Kind::of(part.kind.definitions, value);
        let place = || format!("{} {key}", part.title(file));
        let meaning = value["description"].as_str().unwrap_or_else(|| panic!("{}: no comment", place()));
        let meaning = format!("{} {}", plain(meaning), plain(&kind.meanings()));
        let text = kind.text(&link);
        // What is in a table when it is left out stands with it.
        let default =
            if text.starts_with('[') && !part.needs(key) { String::new() } else { default(part, key, value) };
        table += &format!("| `{key}` | {text} | {default} | {} |\n", meaning.trim_end());
    }
    table
}

/// All tables, the outer ones first, each type once.
fn parts(schema: &Value) -> Vec<Part<'_>> {
    let definitions = definitions(schema);
    let root = Part { path: String::new(), is_list: false, kind: Kind::of(definitions, schema) };
    let mut waiting = VecDeque::from([root]);
    let mut parts: Vec<Part<'_>> = Vec::new();
    while let Some(part) = waiting.pop_front() {
        let is_known = |other: &Part| other.kind.name.is_some() && other.kind.name == part.kind.name;
        if parts.iter().any(is_known) {
            continue;
        }
        let mut inside = VecDeque::new();
        for (key, value) in part.keys() {
            for inner in Kind::of(definitions, value).inner() {
                let path = format!("{}.{key}{}", part.path, inner.path);
                let path = path.trim_start_matches('.').to_owned();
                inside.push_back(Part { path, is_list: inner.is_list, kind: inner.kind });
            }
        }
        // What is inside of a table stands behind it, and the tables beside it after that.
        inside.append(&mut waiting);
        waiting = inside;
        parts.push(part);
    }
    parts
}

fn shown(part: &Part) -> String {
    if part.is_list { format!("[[{}]]", part.path) } else { format!("[{}]", part.path) }
}

fn default(part: &Part, key: &str, value: &Value) -> String {
    if part.needs(key) {
        return "**needed**".to_owned();
    }
    match &value["default"] {
        // It is left out of documents that are written, so that older readers take them: one of the alternatives.
        Value::Null if value.get("default").is_none() && value.get("$ref").is_some() => String::new(),
        Value::Null => "none".to_owned(),
        Value::Array(all) if all.is_empty() => "none".to_owned(),
        // A table's defaults stand with it.
        Value::Object(_) => String::new(),
        value => literal(value),
    }
}

/// A comment of the code as a cell of a table: on one line, and without links into the code.
fn plain(comment: &str) -> String {
    let mut text = comment.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    while let Some((before, rest)) = text.split_once("[`") {
        let Some((name, after)) = rest.split_once("`]") else { break };
        let name = name.rsplit("::").next().unwrap_or(name);
        // The type's name of an alternative, such as `Protocol::H2c`: people write `h2c`.
        let name = snake(name);
        let after = after.split_once(')').filter(|_| after.starts_with('(')).map_or(after, |(_, rest)| rest);
        text = format!("{before}`{name}`{after}");
    }
    text
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 && !name.contains('_') {
            snake.push('_');
        }
        if name.contains('_') { snake.push(letter) } else { snake.extend(letter.to_lowercase()) }
    }
    snake
}

/// What a heading is called in links, as GitHub has it.
#[must_use]
pub fn anchor(heading: &str) -> String {
    let letters = heading.to_lowercase();
    let kept = letters.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_table_has_its_keys_with_type_default_and_meaning() {
        let schema = json!({
            "properties": {
                "name": {"type": "string", "description": "Who\nit is."},
                "port": {"type": "integer", "default": 80, "description": "Where [`Way::LeastRequests`] is | not."},
                "way": {"$ref": "#/$defs/Way", "default": "fast", "description": "How."},
                "vip": {"type": "array", "items": {"$ref": "#/$defs/Vip"}, "default": [], "description": "Addresses."},
                "zip": {"anyOf": [{"$ref": "#/$defs/Vip"}, {"type": "null"}], "description": "One more."},
            },
            "required": ["name"],
            "$defs": {
                "Way": {"oneOf": [
                    {"const": "fast", "description": "At once."},
                    {"type": "object", "properties": {"slow": {"type": "string"}}, "description": "Later"},
                ]},
                "Vip": {"description": "A VIP.", "properties": {
                    "on": {"type": "boolean", "default": false, "description": "Whether."},
                }},
            },
        });
        let expected = "### `x.toml`\n\n| key | type | default | |\n|---|---|---|---|\n\
            | `name` | text | **needed** | Who it is. |\n\
            | `port` | whole number | `80` | Where `least_requests` is \\| not. |\n\
            | `vip` | list: [`[[vip]]`](#xtoml-vip) | none | Addresses. |\n\
            | `way` | `\"fast\"`, `{ slow = … }`: text | `\"fast\"` | How. `\"fast\"`: At once. `slow`: Later. |\n\
            | `zip` | [`[[vip]]`](#xtoml-vip) |  | One more. |\n\n\
            ### x.toml: `[[vip]]`\n\nA VIP.\n\n| key | type | default | |\n|---|---|---|---|\n\
            | `on` | `true`, `false` | `false` | Whether. |\n";
        assert_eq!(made("x.toml", &schema), expected);
    }

    #[test]
    #[should_panic(expected = "`x.toml` name: no comment")]
    fn a_key_without_a_meaning_is_an_error() {
        let _ = made("x.toml", &json!({"properties": {"name": {"type": "string"}}}));
    }
}
