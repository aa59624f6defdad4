//! What an HTTP interface of ours is asked wrongly. The requests are made out of its OpenAPI document, so that a new route
//! is asked wrongly without being named here; what a document cannot say, each program's own table does, and [`uncovered`]
//! says for which routes there has to be a row.

use std::collections::BTreeSet;

use serde_json::Value;
use wire::Problem;

/// The methods that requests of ours have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The largest body that is taken (`kit::api::MAX_BODY`), and one byte.
const TOO_LARGE: usize = (8 << 20) + 1;

/// Stands for a parameter of a path where it is not what is wrong.
const SOME: &str = "1";

/// A field and a parameter that nothing has.
const UNKNOWN: &str = "nosuchfield";

/// A wrong request, and how it is to be refused.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    statuses: Vec<u16>,
    /// The parameter, field or path that the refusal has to name; empty: any.
    names: String,
}

/// All that can be asked wrongly of what `document` describes. The operations `tolerant` ("PUT /path") take fields that they
/// do not know, for the sake of those who speak a later version.
pub(crate) fn wrong_requests(document: &Value, tolerant: &[&str]) -> Vec<Wrong> {
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let some = filled(path, SOME);
        let wrong = |method: &str, path: &str, body: &[u8], statuses: &[u16], names: &str| Wrong {
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.to_vec(),
            statuses: statuses.to_vec(),
            names: names.to_owned(),
        };
        for method in METHODS {
            let operation = &operations[method.to_lowercase()];
            if operation.is_null() {
                // Where reading and changing have a port each, the path is not there at all on the other one.
                all.push(wrong(method, &some, b"{}", &[405, 404], &some));
                continue;
            }
            let has_body = operation["requestBody"]["content"]["application/json"].is_object();
            if has_body {
                let is_tolerant = tolerant.contains(&format!("{method} {path}").as_str());
                let object = format!("{{\"{UNKNOWN}\":1}}");
                for body in ["", "{", "7", "\"x\"", "null", "{} {}"] {
                    all.push(wrong(method, &some, body.as_bytes(), &[400], ""));
                }
                if !is_tolerant {
                    all.push(wrong(method, &some, object.as_bytes(), &[400], UNKNOWN));
                }
                all.push(wrong(method, &some, &vec![b' '; TOO_LARGE], &[413], ""));
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name");
                let is_number = ["integer", "number"].iter().any(|kind| has_type(&parameter["schema"], kind));
                match parameter["in"].as_str() {
                    Some("path") => {
                        all.push(wrong(method, &filled(path, "%FF"), b"{}", &[400], name));
                        if is_number {
                            all.push(wrong(method, &filled(path, "word"), b"{}", &[400], name));
                        }
                    }
                    Some("query") => {
                        all.push(wrong(method, &format!("{some}?{UNKNOWN}=1"), b"{}", &[400], UNKNOWN));
                        if is_number {
                            all.push(wrong(method, &format!("{some}?{name}=word"), b"{}", &[400], name));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    all
}

/// The operations that take a body or a path's parameter and are in no row of `table`, whose rows begin with "PUT /path".
pub(crate) fn uncovered<'a>(document: &Value, table: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let takes_path = path.contains('{');
            if takes_path || operation["requestBody"].is_object() {
                missing.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    for row in table {
        let (method, path) = row.split_once(' ').expect("a method and a path");
        missing.retain(|operation| {
            operation.split_once(' ').is_none_or(|(other, template)| other != method || !fits(path, template))
        });
    }
    missing
}

fn fits(path: &str, template: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.split('/').count() == template.split('/').count()
        && path.split('/').zip(template.split('/')).all(|(part, name)| part == name || name.starts_with('{'))
}

/// `path` with each of its parameters being `value`.
fn filled(path: &str, value: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { value } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn has_type(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        one => one == kind,
    }
}

impl Wrong {
    /// Holds the answer against what it is to be.
    ///
    /// # Panics
    ///
    /// When it is something else than a refusal that names what is at fault.
    #[track_caller]
    pub(crate) fn judge(&self, status: u16, content_type: &str, body: &str) {
        let Wrong { method, path, statuses, names, .. } = self;
        let sent = String::from_utf8_lossy(&self.body[..self.body.len().min(60)]);
        let asked = format!("{method} {path} {sent}");
        assert!(statuses.contains(&status), "{asked}: {status} instead of {statuses:?}: {body}");
        let problem = problem(&asked, status, content_type, body);
        let named = problem.parameter.as_deref().is_some_and(|parameter| parameter.contains(names.as_str()));
        assert!(named || problem.detail.contains(names.as_str()), "{asked}: {names} is not in {problem:?}");
    }
}

/// The problem document that an answer is.
///
/// # Panics
///
/// When it is none, or says nothing.
#[track_caller]
pub(crate) fn problem(asked: &str, status: u16, content_type: &str, body: &str) -> Problem {
    assert_eq!(content_type, Problem::MEDIA_TYPE, "{asked}: {body}");
    let problem: Problem =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{asked}: {error}: {body}"));
    assert_eq!(problem.status, status, "{asked}: {problem:?}");
    assert!(problem.detail.len() > 10, "{asked}: {problem:?} says nothing");
    problem
}
