//! Finds the place of a value in a TOML file by its path.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The bytes of `text` where the value at `path` stands, or of what is nearest around it. What says where a table
/// begins is its name.
pub(super) fn span(text: &str, path: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut table = Some(document.get_ref());
    let mut rest = path;
    while let Some(here) = table {
        let Some((key, value, behind)) = entry(here, rest) else { break };
        let (value, behind, place) = elements(value, behind);
        found = Some(match (place, value.get_ref()) {
            (Some(place), _) => place,
            (None, DeValue::Table(_)) => key,
            (None, _) => value.span(),
        });
        rest = behind;
        table = value.get_ref().as_table();
    }
    found
}

type Value<'a> = &'a Spanned<DeValue<'a>>;

/// The entry of `table` that `path` goes on with, the place of its name, and the path behind it. Names may contain
/// dots: the longest one that fits is the one.
fn entry<'a, 'p>(table: &'a DeTable<'a>, path: &'p str) -> Option<(Range<usize>, Value<'a>, &'p str)> {
    let fits = |name: &str| {
        let rest = path.strip_prefix(name)?;
        match rest.chars().next() {
            None | Some('[') => Some(rest),
            Some('.') => Some(&rest[1..]),
            Some(_) => None,
        }
    };
    let found = table.iter().filter_map(|(key, value)| Some((key, value, fits(key.get_ref())?)));
    let (key, value, rest) = found.max_by_key(|(key, ..)| key.get_ref().len())?;
    Some((key.span(), value, rest))
}

/// The element of `value` that `path` goes on with, its place, and the path behind it.
fn elements<'a, 'p>(mut value: Value<'a>, mut path: &'p str) -> (Value<'a>, &'p str, Option<Range<usize>>) {
    let mut place = None;
    while let Some((index, rest)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) {
        let element = value.get_ref().as_array().zip(index.parse().ok());
        let Some(element) = element.and_then(|(array, index): (_, usize)| array.get(index)) else { break };
        value = element;
        place = Some(element.span());
        path = rest.strip_prefix('.').unwrap_or(rest);
    }
    (value, path, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
machine = "m"
[[config.routes]]
name = "one"
hosts = ["a", "b"]
headers = [{ name = "X", exact = "1" }]
[config.routes.redirect]
status = 200
[[config.routes]]
name = "two"
[config.pools."a.b"]
max_tries = 0
[config.pools.a]
max_tries = 1
"#;

    #[test]
    fn a_value_is_found_where_it_stands() {
        for (path, expected) in [
            ("config.routes[0].name", "\"one\""),
            ("config.routes[0].hosts", "[\"a\", \"b\"]"),
            ("config.routes[0].hosts[1]", "\"b\""),
            ("config.routes[0].headers[0].exact", "\"1\""),
            ("config.routes[0].redirect.status", "200"),
            ("config.routes[0].redirect.host", "redirect"),
            ("config.routes[1].pool", "[[config.routes]]"),
            ("config.pools.a.b.max_tries", "0"),
            ("config.pools.a.max_tries", "1"),
            ("config.pools.a.b", "\"a.b\""),
            ("config.nothing", "config"),
            ("machine", "\"m\""),
        ] {
            let found = span(TEXT, path).map(|span| &TEXT[span]);
            assert_eq!(found, Some(expected), "{path}");
        }
        let second = span(TEXT, "config.routes[1]").expect("a place");
        assert!(TEXT[second.end..].starts_with("\nname = \"two\""), "{second:?}");
        assert_eq!(span(TEXT, "nothing"), None);
    }
}
