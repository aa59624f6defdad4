//! What a value of a schema is, in the words of the reference: its type, its default, and the tables inside of it.

use serde_json::{Map, Value};

/// A schema without the ways around it: references followed, and `null` taken for what it is, a value left out.
pub(crate) struct Kind<'a> {
    /// All types that have a name.
    pub(crate) definitions: &'a Map<String, Value>,
    /// The name, if it has one.
    pub(crate) name: Option<&'a str>,
    /// What it says.
    pub(crate) schema: &'a Value,
}

/// A table that is written inside of another.
pub(crate) struct Inner<'a> {
    /// What is added to the path, such as `.NAME` for each of a map.
    pub(crate) path: String,
    /// Whether there may be several of it: `[[…]]`.
    pub(crate) is_list: bool,
    /// What is in it.
    pub(crate) kind: Kind<'a>,
}

impl<'a> Kind<'a> {
    pub(crate) fn of(definitions: &'a Map<String, Value>, schema: &'a Value) -> Self {
        let mut kind = Kind { definitions, name: None, schema };
        loop {
            let is_null = |one: &&Value| one["type"] != "null";
            let other = ["anyOf", "oneOf"].iter().find_map(|key| kind.schema[*key].as_array());
            if let Some(reference) = kind.schema["$ref"].as_str() {
                let name = reference.rsplit('/').next().expect("a name");
                kind = Kind { definitions, name: Some(name), schema: &definitions[name] };
            } else if let Some([only]) =
                other.map(|all| all.iter().filter(is_null).collect::<Vec<_>>()).as_deref()
            {
                kind.schema = only;
            } else {
                return kind;
            }
        }
    }

    fn with(&self, schema: &'a Value) -> Self {
        Kind::of(self.definitions, schema)
    }

    /// The keys, where it is a table.
    pub(crate) fn keys(&self) -> Option<&'a Map<String, Value>> {
        self.schema["properties"].as_object()
    }

    /// The alternatives, where there are some: a text that is one of them, or a table with one key.
    fn alternatives(&self) -> Vec<&'a Value> {
        let all = ["oneOf", "anyOf"].iter().find_map(|key| self.schema[*key].as_array());
        all.map(|all| all.iter().filter(|one| one["type"] != "null").collect()).unwrap_or_default()
    }

    /// All tables that may be written inside.
    pub(crate) fn inner(&self) -> Vec<Inner<'a>> {
        if self.schema["items"].is_object() {
            let inner = self.with(&self.schema["items"]).inner().into_iter();
            return inner.map(|inner| Inner { is_list: inner.path.is_empty(), ..inner }).collect();
        }
        if self.schema["additionalProperties"].is_object() {
            let inner = self.with(&self.schema["additionalProperties"]).inner().into_iter();
            return inner.map(|inner| Inner { path: format!(".NAME{}", inner.path), ..inner }).collect();
        }
        let alternatives = self.alternatives();
        if alternatives.is_empty() {
            return match self.keys() {
                Some(_) => {
                    let kind = Kind { definitions: self.definitions, name: self.name, schema: self.schema };
                    vec![Inner { path: String::new(), is_list: false, kind }]
                }
                None => Vec::new(),
            };
        }
        let tables = alternatives.into_iter().filter_map(|one| one["properties"].as_object()).flatten();
        let inner = tables.flat_map(|(key, value)| {
            let inner = self.with(value).inner().into_iter();
            inner.map(move |inner| Inner { path: format!(".{key}{}", inner.path), ..inner })
        });
        inner.collect()
    }

    /// The type; `link` says where a table with a name is described.
    pub(crate) fn text(&self, link: &dyn Fn(&str) -> Option<String>) -> String {
        let schema = self.schema;
        if schema["items"].is_object() {
            return format!("list: {}", self.with(&schema["items"]).text(link));
        }
        if self.keys().is_some() {
            return self.name.and_then(link).unwrap_or_else(|| "table".to_owned());
        }
        if schema["additionalProperties"].is_object() {
            return format!("by name: {}", self.with(&schema["additionalProperties"]).text(link));
        }
        if let Some(all) = schema["enum"].as_array() {
            return all.iter().map(literal).collect::<Vec<_>>().join(", ");
        }
        if schema.get("const").is_some() {
            return literal(&schema["const"]);
        }
        let alternatives = self.alternatives();
        if !alternatives.is_empty() {
            let each = alternatives.into_iter().map(|one| match one["properties"].as_object() {
                Some(keys) => {
                    let keys = keys.iter().map(|(key, value)| match self.with(value).text(link) {
                        table if table.starts_with('[') => format!("{{ {key} = … }}: {table}"),
                        kind => format!("`{{ {key} = … }}`: {kind}"),
                    });
                    keys.collect::<Vec<_>>().join(", ")
                }
                None => self.with(one).text(link),
            });
            return each.collect::<Vec<_>>().join(", ");
        }
        let types = match &schema["type"] {
            Value::Array(all) => all.iter().filter_map(Value::as_str).find(|one| *one != "null"),
            one => one.as_str(),
        };
        let text = match (types.unwrap_or_default(), schema["format"].as_str()) {
            ("string", Some("ipv4")) => "IPv4 address",
            ("string", Some("ip")) => "IP address",
            ("string", _) => "text",
            ("boolean", _) => "`true`, `false`",
            ("integer", _) => "whole number",
            ("number", _) => "number",
            other => panic!("the reference has no words for {other:?}: {schema}"),
        };
        text.to_owned()
    }

    /// What its alternatives mean, one after the other.
    pub(crate) fn meanings(&self) -> String {
        if self.schema["items"].is_object() {
            return self.with(&self.schema["items"]).meanings();
        }
        let meanings = self.alternatives().into_iter().filter_map(|one| {
            let meaning = one["description"].as_str()?;
            let names: Vec<String> = match (&one["enum"], one.get("const"), one["properties"].as_object()) {
                (Value::Array(all), ..) => all.iter().map(literal).collect(),
                (_, Some(one), _) => vec![literal(one)],
                (_, _, Some(keys)) => keys.keys().map(|key| format!("`{key}`")).collect(),
                _ => return None,
            };
            let end = if meaning.ends_with('.') { "" } else { "." };
            Some(format!("{}: {meaning}{end}", names.join(", ")))
        });
        meanings.collect::<Vec<_>>().join(" ")
    }
}

/// A value as it is written in TOML, in code.
pub(crate) fn literal(value: &Value) -> String {
    format!("`{value}`")
}
