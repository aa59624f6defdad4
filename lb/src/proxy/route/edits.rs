//! Changes to the header fields of requests and answers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pingora_http::{RequestHeader, ResponseHeader};
use wire::actions::HeaderEdits;

use super::super::headers::HOP_BY_HOP;
use super::template::{Facts, Template, Word};

/// Whether nobody may change this field: it is about one connection or frames the message (RFC 9110, section 7.6.1;
/// RFC 9112, section 6), and changing it would cut the message loose from what it is.
pub(crate) fn is_refused(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name)
}

/// The edits of a route, in the order in which they are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits(Vec<Edit>);

#[derive(Clone, Debug)]
enum Edit {
    Remove(HeaderName),
    Set(Bytes, Value),
    Add(Bytes, Value),
}

/// The value of a field.
#[derive(Clone, Debug)]
enum Value {
    Fixed(HeaderValue),
    Filled(Template),
}

impl Value {
    fn new(text: &str) -> Option<Self> {
        let template = Template::new(text, Word::IN_FIELDS);
        match template.fixed() {
            Some(text) => HeaderValue::from_str(text).ok().map(Value::Fixed),
            None => Some(Value::Filled(template)),
        }
    }

    /// None where something was filled in that cannot stand in a header.
    fn get(&self, facts: &Facts<'_>) -> Option<HeaderValue> {
        match self {
            Value::Fixed(value) => Some(value.clone()),
            Value::Filled(template) => HeaderValue::from_str(&template.fill(facts)).ok(),
        }
    }
}

impl Edits {
    /// What was checked; what could not be used would be left out.
    pub(crate) fn new(described: &HeaderEdits) -> Self {
        let HeaderEdits { remove, set, add } = described;
        let name = |name: &String| Bytes::copy_from_slice(name.as_bytes());
        let removed = remove.iter().filter_map(|name| Some(Edit::Remove(name.parse().ok()?)));
        let set = set.iter().filter_map(|(field, value)| Some(Edit::Set(name(field), Value::new(value)?)));
        let added = add.iter().filter_map(|(field, value)| Some(Edit::Add(name(field), Value::new(value)?)));
        Edits(removed.chain(set).chain(added).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes them. A value that cannot be filled in leaves its field as it is.
    pub(crate) fn apply(&self, head: &mut impl Fields, facts: &Facts<'_>) {
        for edit in &self.0 {
            match edit {
                Edit::Remove(name) => head.remove(name),
                Edit::Set(name, value) => {
                    value.get(facts).into_iter().for_each(|value| head.set(name.clone(), value));
                }
                Edit::Add(name, value) => {
                    value.get(facts).into_iter().for_each(|value| head.add(name.clone(), value));
                }
            }
        }
    }
}

/// A head whose fields can be changed. Names were checked: none can be refused.
pub(crate) trait Fields {
    fn remove(&mut self, name: &HeaderName);
    fn set(&mut self, name: Bytes, value: HeaderValue);
    fn add(&mut self, name: Bytes, value: HeaderValue);
}

macro_rules! fields {
    ($head:ty) => {
        impl Fields for $head {
            fn remove(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }

            fn set(&mut self, name: Bytes, value: HeaderValue) {
                let _ = self.insert_header(name, value);
            }

            fn add(&mut self, name: Bytes, value: HeaderValue) {
                let _ = self.append_header(name, value);
            }
        }
    };
}

fields!(RequestHeader);
fields!(ResponseHeader);

#[cfg(test)]
mod tests {
    use super::super::sender::Sender;
    use super::*;

    #[test]
    fn fields_go_are_set_and_come_in_this_order() {
        let edits: HeaderEdits = serde_json::from_value(serde_json::json!({
            "remove": ["x-gone", "X-Set"],
            "set": {"X-Set": "new", "X-Client": "{client}", "X-Kept": "{query}"},
            "add": {"X-More": "b"},
        }))
        .expect("edits");
        let mut request = RequestHeader::build("GET", b"/?q", None).expect("request");
        for (name, value) in
            [("X-Gone", "1"), ("X-Set", "old"), ("X-Set", "older"), ("X-More", "a"), ("X-Kept", "as it is")]
        {
            request.append_header(name, value).expect("header");
        }
        let mut other = request.clone();
        other.set_raw_path("/?ä".as_bytes()).expect("path");
        let facts = Facts { request: Some(&other), client: Sender::somebody(), route: "", problem: None };
        Edits::new(&edits).apply(&mut request, &facts);
        let all = |name: &str| {
            let values = request.headers.get_all(name).iter();
            values.map(|value| value.to_str().expect("text").to_owned()).collect::<Vec<_>>()
        };
        assert!(all("x-gone").is_empty());
        assert_eq!(all("x-set"), ["new"]);
        assert_eq!(all("x-client"), ["192.0.2.7"]);
        assert_eq!(all("x-more"), ["a", "b"]);
    }
}
