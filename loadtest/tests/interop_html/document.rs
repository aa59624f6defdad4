//! What stands in a document that Chromium printed. It writes attributes in one way, so plain searching finds them.

use serde_json::Value;

/// A number that says which of the report's it is.
#[derive(Debug)]
pub(crate) struct Number {
    pub(crate) pointer: String,
    pub(crate) shown: f64,
    /// Half of its last digit.
    pub(crate) exact_to: f64,
}

/// A row of the table behind the charts.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

/// The text from `start` to the next `end`.
#[track_caller]
pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text:.400}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} after {start}")).0
}

/// All that are marked as the report's.
pub(crate) fn numbers(document: &str) -> Vec<Number> {
    let (body, _) = document.split_once("<script").unwrap();
    let elements = body.split("<data ").skip(1);
    elements
        .map(|element| {
            let text = between(element, ">", "<").replace(',', "");
            let tag = element.split_once('>').unwrap().0;
            let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
            let times = if tag.contains("data-times=\"1000\"") { 1000.0 } else { 1.0 };
            Number {
                pointer: between(tag, "data-json=\"", "\"").to_owned(),
                shown: text.parse::<f64>().unwrap_or_else(|_| panic!("{element:.100}")) * times,
                exact_to: 0.500_001 * times / 10_f64.powi(i32::try_from(digits).unwrap()),
            }
        })
        .collect()
}

/// The table behind the charts.
pub(crate) fn rows(document: &str) -> Vec<Row> {
    let rows = document.split("<tr data-buckets=\"").skip(1);
    rows.map(|row| {
        let (from, to) = row.split_once('"').unwrap().0.split_once(' ').unwrap();
        let sum = |name: &str| {
            between(row, &format!("data-sum=\"{name}\">"), "<").replace(',', "").parse().unwrap()
        };
        Row {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            succeeded: sum("succeeded"),
            failed: sum("failed"),
        }
    })
    .collect()
}

/// The JSON that the page carries.
pub(crate) fn embedded(document: &str) -> Value {
    let text = between(document, "<script type=\"application/json\" id=\"report\">", "</script>");
    serde_json::from_str(text).unwrap()
}
