//! Expressions of PromQL, as far as they are changed here.

/// The comparisons of PromQL, the longer ones first.
const COMPARISONS: [&str; 6] = [">=", "<=", "==", "!=", ">", "<"];

/// `expression` with every comparison saying 0 or 1 instead of leaving something out: it shows something exactly where what
/// is compared is there.
pub(crate) fn without_filters(expression: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = expression.split_whitespace().peekable();
    while let Some(word) = rest.next() {
        words.push(word.to_owned());
        if COMPARISONS.contains(&word) && rest.peek() != Some(&"bool") {
            words.push("bool".to_owned());
        }
    }
    words.join(" ")
}

#[test]
fn comparisons_say_what_they_find() {
    for (alert, shown) in [
        ("up{job!=\"x\"} < 1", "up{job!=\"x\"} < bool 1"),
        ("(a > 1) or\n  (b >= bool 2)", "(a > bool 1) or (b >= bool 2)"),
        ("a == b and c != 3", "a == bool b and c != bool 3"),
    ] {
        assert_eq!(without_filters(alert), shown);
    }
}
