//! Numbers as they stand on the page, each with the place in the JSON that it comes from.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::count::Failure;

/// A number of the report with so many digits behind the point; `pointer` is its place in the JSON.
pub(super) fn number(pointer: &str, value: f64, digits: usize) -> Markup {
    html! { data class="n" data-json=(pointer) value=(value) { (grouped(&format!("{value:.digits$}"))) } }
}

/// A count of the report.
pub(super) fn count(pointer: &str, value: u64) -> Markup {
    html! { data class="n" data-json=(pointer) value=(value) { (grouped(&value.to_string())) } }
}

/// A time in milliseconds that may not be there.
pub(super) fn millis(pointer: &str, value: Option<f64>) -> Markup {
    match value {
        Some(value) => number(pointer, value, if value < 10.0 { 2 } else { 1 }),
        None => html! { "–" },
    }
}

/// A time in milliseconds, shown in seconds.
pub(super) fn seconds(pointer: &str, ms: f64, digits: usize) -> Markup {
    let text = grouped(&format!("{:.digits$}", ms / 1000.0));
    html! { data class="n" data-json=(pointer) data-times="1000" value=(ms) { (text) } }
}

/// Failures by kind; the name and the count of each stay together.
pub(super) fn by_kind(failures: &BTreeMap<Failure, u64>) -> Markup {
    html! {
        @for (index, (kind, count)) in failures.iter().enumerate() {
            @if index > 0 { ", " }
            span class="together" { (kind.name()) " " (grouped(&count.to_string())) }
        }
    }
}

/// Thousands apart: 1,234,567.8
pub(super) fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, shown) in [
            ("1", "1"),
            ("123", "123"),
            ("1234", "1,234"),
            ("-123", "-123"),
            ("-1234.5678", "-1,234.5678"),
            ("1234567.8", "1,234,567.8"),
        ] {
            assert_eq!(grouped(number), shown);
        }
    }
}
