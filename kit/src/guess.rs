//! Guesses what was meant by a word that means nothing here.

/// The nearest of `candidates` to `word`, if any is near: a third of its letters may differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The question whether the nearest of `candidates` was meant, to be put behind a message; empty where none is near.
pub fn question<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |guess| format!("; did you mean `{guess}`?"))
}

/// What is to be put behind a message of serde's: for an unknown field or variant, of which it names those it expected,
/// the same question; for an address, what one looks like.
pub fn in_message(message: &str) -> String {
    let example = match message {
        "invalid socket address syntax" => {
            ": expected an address with a port, such as \"0.0.0.0:80\" or \"[::]:80\""
        }
        "invalid IP address syntax" => {
            ": expected an address such as \"10.0.0.1\" or \"fd00::1\"; names are not looked up"
        }
        "invalid IPv4 address syntax" => {
            ": expected an address such as \"10.0.0.1\"; names are not looked up"
        }
        _ => "",
    };
    if !example.is_empty() {
        return example.to_owned();
    }
    let Some((unknown, expected)) = message.split_once("expected") else { return String::new() };
    if !unknown.starts_with("unknown field") && !unknown.starts_with("unknown variant") {
        return String::new();
    }
    let word = unknown.split('`').nth(1).unwrap_or_default();
    question(word, expected.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_guessed_and_the_rest_is_not() {
        assert_eq!(nearest("wbe", ["api", "web", "webs"]), Some("web"));
        assert_eq!(nearest("zzz", ["api", "web"]), None);
        assert_eq!(
            in_message("unknown field `adress`, expected `address` or `weight`"),
            "; did you mean `address`?"
        );
        assert_eq!(in_message("invalid type: string \"adress\", expected `address`"), "");
    }
}
