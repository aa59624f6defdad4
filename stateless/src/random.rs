//! Random values: the work this service exists for.

use std::fmt::Display;
use std::str::FromStr;

use kit::api::{ApiError, Json, Query};
use rand::RngExt;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use wire::Problem;

/// What every route here answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Value<T> {
    /// The random value.
    value: T,
}

fn answer<T>(value: T) -> Json<Value<T>> {
    Json(Value { value })
}

/// A number as a query parameter.
pub(crate) trait Number: FromStr + PartialOrd + Display + DeserializeOwned + Copy {
    /// What may be written, for people.
    const ALLOWED: &'static str;
    /// The lower end of the span when none is given.
    const MIN: Self;
    /// The upper end of the span when none is given.
    const MAX: Self;
    /// Whether it can be calculated with.
    fn usable(self) -> bool;
}

impl Number for i64 {
    const ALLOWED: &'static str = "a whole number from -9223372036854775808 to 9223372036854775807";
    const MIN: i64 = 0;
    const MAX: i64 = 100;
    fn usable(self) -> bool {
        true
    }
}

impl Number for f32 {
    const ALLOWED: &'static str = "a finite number of single precision, such as 0.5 or -1e3";
    const MIN: f32 = 0.0;
    const MAX: f32 = 1.0;
    fn usable(self) -> bool {
        self.is_finite()
    }
}

impl Number for f64 {
    const ALLOWED: &'static str = "a finite number of double precision, such as 0.5 or -1e3";
    const MIN: f64 = 0.0;
    const MAX: f64 = 1.0;
    fn usable(self) -> bool {
        self.is_finite()
    }
}

/// Reads a number or says what would have been one.
pub(crate) fn number<'de, T: Number, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .ok()
        .filter(|number: &T| number.usable())
        .ok_or_else(|| D::Error::custom(format!("`{text}` is not {}", T::ALLOWED)))
}

/// Where a value may lie, both ends included.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Number", deny_unknown_fields)]
pub(crate) struct Span<T: Number> {
    #[serde(default = "lower", deserialize_with = "number")]
    min: T,
    #[serde(default = "upper", deserialize_with = "number")]
    max: T,
}

fn lower<T: Number>() -> T {
    T::MIN
}

fn upper<T: Number>() -> T {
    T::MAX
}

impl<T: Number> Span<T> {
    fn checked(self) -> Result<(T, T), ApiError> {
        let Span { min, max } = self;
        if min > max {
            let detail = format!("`min` ({min}) must not be greater than `max` ({max})");
            return Err(Problem::bad_parameter("min", detail).into());
        }
        Ok((min, max))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coin {
    #[serde(default = "even", deserialize_with = "number")]
    probability: f64,
}

fn even() -> f64 {
    0.5
}

/// `true` with the given probability.
#[utoipa::path(get, path = "/random/boolean",
    params(("probability" = Option<f64>, Query, description = "0 to 1; 0.5 when absent")),
    responses((status = 200, body = Value<bool>), (status = 400, body = Problem)))]
pub(crate) async fn boolean(Query(coin): Query<Coin>) -> Result<Json<Value<bool>>, ApiError> {
    let probability = coin.probability;
    if !(0.0..=1.0).contains(&probability) {
        let detail = format!("`probability` is {probability}; allowed is 0 to 1");
        return Err(Problem::bad_parameter("probability", detail).into());
    }
    Ok(answer(rand::rng().random_bool(probability)))
}

/// A whole number between `min` and `max`, both included.
#[utoipa::path(get, path = "/random/integer",
    params(("min" = Option<i64>, Query, description = "0 when absent"),
           ("max" = Option<i64>, Query, description = "100 when absent; not below min")),
    responses((status = 200, body = Value<i64>), (status = 400, body = Problem)))]
pub(crate) async fn integer(Query(span): Query<Span<i64>>) -> Result<Json<Value<i64>>, ApiError> {
    let (min, max) = span.checked()?;
    Ok(answer(rand::rng().random_range(min..=max)))
}

/// A number of single precision between `min` and `max`.
#[utoipa::path(get, path = "/random/float",
    params(("min" = Option<f32>, Query, description = "0 when absent"),
           ("max" = Option<f32>, Query, description = "1 when absent; not below min")),
    responses((status = 200, body = Value<f32>), (status = 400, body = Problem)))]
pub(crate) async fn float(Query(span): Query<Span<f32>>) -> Result<Json<Value<f32>>, ApiError> {
    let (min, max) = span.checked()?;
    let value = between(min.into(), max.into(), rand::rng().random());
    // Rounding to single precision can step over an end.
    #[allow(clippy::cast_possible_truncation)]
    Ok(answer((value as f32).clamp(min, max)))
}

/// A number of double precision between `min` and `max`.
#[utoipa::path(get, path = "/random/double",
    params(("min" = Option<f64>, Query, description = "0 when absent"),
           ("max" = Option<f64>, Query, description = "1 when absent; not below min")),
    responses((status = 200, body = Value<f64>), (status = 400, body = Problem)))]
pub(crate) async fn double(Query(span): Query<Span<f64>>) -> Result<Json<Value<f64>>, ApiError> {
    let (min, max) = span.checked()?;
    Ok(answer(between(min, max, rand::rng().random())))
}

/// A whole number from 0 to 99.
#[utoipa::path(get, path = "/random/number", responses((status = 200, body = Value<u8>)))]
pub(crate) async fn percent() -> Json<Value<u8>> {
    answer(rand::rng().random_range(0..=99))
}

/// The point at `share` (0 to 1) of the way from `min` to `max`. The width of the span itself may
/// overflow, so it is never calculated.
fn between(min: f64, max: f64, share: f64) -> f64 {
    (min * (1.0 - share) + max * share).clamp(min, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_wider_than_the_largest_number_still_has_points_in_it() {
        for share in [0.0, 0.25, 0.5, 0.999_999, 1.0] {
            let value = between(f64::MIN, f64::MAX, share);
            assert!(value.is_finite(), "{share}: {value}");
        }
        assert_eq!(between(f64::MIN, f64::MAX, 0.5), 0.0);
        assert_eq!(between(3.5, 3.5, 0.7), 3.5);
    }
}
