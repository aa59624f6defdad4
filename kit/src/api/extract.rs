//! Extractors that refuse bad input with problem+json naming the parameter or field.

use std::collections::HashSet;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use wire::Problem;

use super::ApiError;
use super::serve::MAX_BODY;
use crate::guess;

/// The query string as `T`. Unknown parameters are refused where `T` refuses them.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let pairs = form_urlencoded::parse(query);
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map(Query).map_err(
            |error| {
                let path = error.path().to_string();
                // A derived `T` finds one given twice when it has left the path to it behind.
                let parameter = if path == "." { given_twice(query) } else { Some(path) };
                ApiError(Problem {
                    parameter,
                    ..Problem::new(400, "Bad parameter", error.inner().to_string())
                })
            },
        )
    }
}

/// The first parameter of `query` that was there before.
fn given_twice(query: &[u8]) -> Option<String> {
    let mut names = HashSet::new();
    form_urlencoded::parse(query)
        .map(|(name, _)| name)
        .find(|name| !names.insert(name.clone()))
        .map(String::from)
}

/// The parameters in the path as `T`.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(rejection) => {
                let names = RawPathParams::from_request_parts(parts, state).await;
                let name = names.ok().and_then(|names| names.iter().next().map(|(name, _)| name.to_owned()));
                Err(ApiError(path_problem(&rejection, name)))
            }
        }
    }
}

fn path_problem(rejection: &PathRejection, parameter: Option<String>) -> Problem {
    Problem { parameter, ..Problem::new(rejection.status().as_u16(), "Bad path", rejection.body_text()) }
}

/// A JSON body as `T`, whatever its content type says.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Body(body) = Body::from_request(request, state).await?;
        Ok(Json(parse_json(&body)?))
    }
}

/// A body as it came.
#[derive(Debug, Clone)]
pub struct Body(pub axum::body::Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = axum::body::Bytes::from_request(request, state).await;
        body.map(Body).map_err(|error| unread_problem(&error))
    }
}

/// What `text`, one object, says in JSON.
///
/// # Errors
///
/// A problem of 400 that names the field that does not fit, in the words that a file would be refused with.
pub fn parse_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    // serde would take the items of a list for the fields of `T`, one after the other, whatever they were meant for.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::bad_body(
            "expected an object, `{…}`, with a name before each value; found a list",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| body_problem(&error))?;
    json.end().map_err(|error| Problem::bad_body(error.to_string()))?;
    Ok(value)
}

impl<T: serde::Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

fn unread_problem(error: &BytesRejection) -> ApiError {
    let detail = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => format!("it has more than {MAX_BODY} bytes, the most that is taken"),
        _ => error.body_text(),
    };
    ApiError(Problem::new(error.status().as_u16(), "Bad request body", detail))
}

fn body_problem(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let inner = error.inner();
    let text = inner.to_string();
    // The field says where it is, unless it is no JSON at all.
    let place = format!(" at line {} column {}", inner.line(), inner.column());
    let message = if inner.is_data() { text.strip_suffix(&place).unwrap_or(&text) } else { &text };
    let mut problem = Problem::bad_body(format!("{message}{}", guess::in_message(message)));
    problem.parameter = (path != ".").then_some(path);
    problem
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)] // only what is refused matters here
    struct Span {
        min: i64,
        max: i64,
    }

    #[tokio::test]
    async fn the_parameter_at_fault_is_named() {
        for (query, expected) in [
            ("min=1&max=word", Some("max")),
            ("min=1&max=2&middle=3", Some("middle")),
            ("min=1&max=2&min=1", Some("min")),
            ("min=1&max=2&m%61x=3", Some("max")),
            ("min=1", None),
        ] {
            let (mut parts, ()) = Request::get(format!("/?{query}")).body(()).expect("request").into_parts();
            let ApiError(problem) =
                Query::<Span>::from_request_parts(&mut parts, &()).await.expect_err("refused");
            assert_eq!(
                (problem.status, problem.parameter.as_deref()),
                (400, expected),
                "{query}: {problem:?}"
            );
        }
    }
}
