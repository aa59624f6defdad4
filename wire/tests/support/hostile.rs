//! JSON that nobody should send: for the tests of everything that takes documents from others.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use wire::MAX_COUNT;

/// Runs `usual` cases, or as many as `HOLDFAST_FUZZ_CASES` says.
pub(crate) fn runner(usual: u32) -> TestRunner {
    let cases = std::env::var("HOLDFAST_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    TestRunner::new(ProptestConfig {
        cases: cases.unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

/// Any value, with a liking for what is nearly right.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop_oneof![Just(u64::MAX), Just(MAX_COUNT), Just(MAX_COUNT + 1), Just(0), Just(65_536)]
            .prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        (1..40_000usize).prop_map(|length| Value::from("x".repeat(length))),
        any::<IpAddr>().prop_map(|address| Value::from(address.to_string())),
        prop_oneof![
            Just("a"),
            Just("a-lb"),
            Just("b-stateless-1.1"),
            Just("0.0.0.0"),
            Just("ready"),
            Just("")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((".{0,8}", inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Somewhere in a document, and what happens there.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Replace(Vec<usize>, Value),
    Remove(Vec<usize>),
    Repeat(Vec<usize>, usize),
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let place = || vec(any::<usize>(), 1..6);
    prop_oneof![
        4 => (place(), any_json()).prop_map(|(place, value)| Mutation::Replace(place, value)),
        1 => place().prop_map(Mutation::Remove),
        1 => (place(), 1..300usize).prop_map(|(place, times)| Mutation::Repeat(place, times)),
    ]
}

impl Mutation {
    /// Does it to `document`.
    pub(crate) fn apply(&self, document: &mut Value) {
        match self {
            Mutation::Replace(place, value) => *walk(document, place) = value.clone(),
            Mutation::Remove(place) => *walk(document, place) = Value::Null,
            Mutation::Repeat(place, times) => {
                if let Value::Array(items) = walk(document, place)
                    && let Some(last) = items.last().cloned()
                {
                    items.extend(std::iter::repeat_n(last, *times));
                }
            }
        }
    }
}

/// The value that the numbers lead to.
fn walk<'a>(document: &'a mut Value, place: &[usize]) -> &'a mut Value {
    let mut at = document;
    for pick in place {
        let children = at.as_array().map_or(0, Vec::len) + at.as_object().map_or(0, serde_json::Map::len);
        if children == 0 {
            break;
        }
        at = match at {
            Value::Array(items) => &mut items[pick % children],
            Value::Object(fields) => fields.values_mut().nth(pick % children).expect("within"),
            _ => unreachable!("it has children"),
        };
    }
    at
}
