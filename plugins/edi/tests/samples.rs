//! The samples, each with what is right.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_edi::{Ack, Edi};
use serde_json::{Value, json};
use support::{samples, scan};

/// What stands in `expected` stands in `actual`; lists have nothing else.
fn includes(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| actual.get(key).is_some_and(|found| includes(found, value))),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual.iter().zip(expected).all(|(actual, expected)| includes(actual, expected))
        }
        _ => actual == expected,
    }
}

#[test]
fn sample_is_read_as_expected() {
    for (name, bytes, expected) in samples() {
        let (edi, acks) = scan(&bytes);
        let edi = serde_json::to_value(&edi).unwrap();
        assert!(includes(&edi, &expected["edi"]), "{name}: {edi:#}");
        // What is left out where it is empty is empty.
        for (at, interchange) in edi["interchanges"].as_array().into_iter().flatten().enumerate() {
            let expected = &expected["edi"]["interchanges"][at];
            for key in ["warnings", "interactive", "interchangeAcks"] {
                assert_eq!(interchange[key], expected[key], "{name}: {key}");
            }
        }
        let none = json!([]);
        let expected = expected.get("acks").unwrap_or(&none);
        assert_eq!(&serde_json::to_value(acks).unwrap(), expected, "{name}");
    }
}

#[test]
fn result_is_the_same_after_json() {
    for (name, bytes, _) in samples() {
        let (edi, acks) = scan(&bytes);
        let read: Option<Edi> =
            serde_json::from_str(&serde_json::to_string(&edi).unwrap()).unwrap();
        assert_eq!(read, edi, "{name}");
        let read: Vec<Ack> = serde_json::from_str(&serde_json::to_string(&acks).unwrap()).unwrap();
        assert_eq!(read, acks, "{name}");
    }
}
