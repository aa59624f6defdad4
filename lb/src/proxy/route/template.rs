//! Texts with placeholders, such as `{client}`, which are read once and filled in for each request.

use std::borrow::Cow;

use kit::guess;
use pingora_http::RequestHeader;
use wire::Problem;

use super::host;
use super::sender::Sender;

/// What can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Client,
    Detail,
    Host,
    Method,
    Path,
    Query,
    Route,
    Scheme,
    Status,
    Title,
}

impl Word {
    /// What error pages may name: nothing that clients choose, which would have to be escaped.
    pub(crate) const IN_PAGES: &'static [Word] = &[Word::Detail, Word::Route, Word::Status, Word::Title];

    /// What values of header fields may name.
    pub(crate) const IN_FIELDS: &'static [Word] =
        &[Word::Client, Word::Host, Word::Method, Word::Path, Word::Query, Word::Route, Word::Scheme];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Word::Client => "client",
            Word::Detail => "detail",
            Word::Host => "host",
            Word::Method => "method",
            Word::Path => "path",
            Word::Query => "query",
            Word::Route => "route",
            Word::Scheme => "scheme",
            Word::Status => "status",
            Word::Title => "title",
        }
    }
}

/// What is known when a text is filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// None: it could not be read.
    pub(crate) request: Option<&'a RequestHeader>,
    pub(crate) client: Sender,
    pub(crate) route: &'a str,
    /// The error that is answered with, where it is one.
    pub(crate) problem: Option<&'a Problem>,
}

impl Facts<'_> {
    fn get(&self, word: Word) -> Cow<'_, str> {
        let text = |text: fn(&Problem) -> &str| self.problem.map_or("", text).into();
        let of = |part: for<'r> fn(&'r RequestHeader) -> &'r str| self.request.map_or("", part).into();
        match word {
            Word::Client => self.client.address.to_string().into(),
            Word::Detail => text(|problem| &problem.detail),
            Word::Host => of(host),
            Word::Method => of(|request| request.method.as_str()),
            Word::Path => of(|request| request.uri.path()),
            Word::Query => of(|request| request.uri.query().unwrap_or_default()),
            Word::Route => self.route.into(),
            Word::Scheme => self.client.scheme().into(),
            Word::Status => {
                self.problem.map_or(Cow::Borrowed(""), |problem| problem.status.to_string().into())
            }
            Word::Title => text(|problem| &problem.title),
        }
    }
}

/// A text with placeholders.
#[derive(Clone, Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Word(Word),
}

impl Template {
    /// Reads `text`, in which `words` may be named. Other braces are text.
    pub(crate) fn new(text: &str, words: &[Word]) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut from = 0;
        while let Some((start, end, name)) = next(rest, from) {
            let Some(word) = words.iter().find(|word| word.name() == name) else {
                from = start + 1;
                continue;
            };
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            parts.push(Part::Word(*word));
            (rest, from) = (&rest[end..], 0);
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Template(parts)
    }

    /// The text, if nothing is to be filled in.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for these facts.
    pub(crate) fn fill(&self, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Word(word) => text.push_str(&facts.get(*word)),
            }
        }
        text
    }
}

/// Objects to what looks like a placeholder and is nearly, but not quite, one of `words`.
pub(crate) fn misspelt(text: &str, words: &[Word]) -> Result<(), String> {
    let names = || words.iter().map(|word| word.name());
    let mut from = 0;
    while let Some((start, _, name)) = next(text, from) {
        if !names().any(|known| known == name) && guess::nearest(name, names()).is_some() {
            return Err(format!("there is no {{{name}}} here{}", guess::question(name, names())));
        }
        from = start + 1;
    }
    Ok(())
}

/// The next word in braces from byte `from` on: where it begins and ends, and the word.
fn next(text: &str, mut from: usize) -> Option<(usize, usize, &str)> {
    loop {
        let start = from + text.get(from..)?.find('{')?;
        let inner = &text[start + 1..];
        let length = inner.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        match length {
            Some(length @ 1..) if inner[length..].starts_with('}') => {
                return Some((start, start + length + 2, &inner[..length]));
            }
            _ => from = start + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_and_other_braces_are_text() {
        let mut request = RequestHeader::build("GET", b"/a/b?c=d", None).expect("request");
        request.insert_header("Host", "example.org:8080").expect("host");
        let problem = Problem::new(503, "No upstream", "wait");
        let client = Sender::somebody();
        let facts = Facts { request: Some(&request), client, route: "r", problem: Some(&problem) };
        for (text, filled) in [
            ("", ""),
            ("plain {", "plain {"),
            ("{client}", "192.0.2.7"),
            ("a{method}{path}?{query}b", "aGET/a/b?c=db"),
            ("{scheme}://{host} {route}", "http://example.org r"),
            ("{ status } {Status} {x} {{client}}", "{ status } {Status} {x} {192.0.2.7}"),
        ] {
            assert_eq!(Template::new(text, Word::IN_FIELDS).fill(&facts), filled, "{text}");
        }
        let page = Template::new("<b>{status} {title}</b> {detail} {client}", Word::IN_PAGES);
        assert_eq!(page.fill(&facts), "<b>503 No upstream</b> wait {client}");
        let unknown = Facts { request: None, client, route: "", problem: None };
        assert_eq!(Template::new("[{host}{path}]", Word::IN_FIELDS).fill(&unknown), "[]");
    }

    #[test]
    fn what_is_nearly_a_word_is_objected_to() {
        misspelt("body{color:red} {x} {title}", Word::IN_PAGES).expect("fine");
        let objection = misspelt("{x}{staus}", Word::IN_PAGES).expect_err("nearly");
        assert_eq!(objection, "there is no {staus} here; did you mean `status`?");
    }
}
