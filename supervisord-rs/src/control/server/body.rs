//! The body of an order: a JSON object, whose keys and values are those of the path. A refusal
//! names the key that is wrong.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What serde calls things, and what people do.
const WORDS: [(&str, &str); 9] = [
    ("a sequence", "a list"),
    ("a boolean", "true or false"),
    ("a map", "an object"),
    ("u32", "a whole number from 0"),
    ("u64", "a whole number from 0"),
    ("path string", "a path"),
    ("invalid type: ", "it is "),
    ("invalid value: ", "it is "),
    ("data did not match any variant of untagged enum SignalName", "it has to be a name or number"),
];

/// Reads it; nothing is an empty object.
///
/// # Errors
/// A sentence about the first thing that is wrong.
pub(super) fn understood<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, String> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let body = serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "the body is no JSON: {error}; it has to be an object, as {{\"workers\":[\"api\"]}}"
        )
    })?;
    let Value::Object(given) = body else {
        return Err("the body has to be a JSON object, as {\"workers\":[\"api\"]}".to_owned());
    };
    read(given.clone()).map_err(|error| in_words::<B>(&given, &error))
}

fn read<B: DeserializeOwned>(given: Map<String, Value>) -> Result<B, String> {
    serde_json::from_value(Value::Object(given)).map_err(|error| error.to_string())
}

fn in_words<B: DeserializeOwned>(given: &Map<String, Value>, error: &str) -> String {
    if let Some(rest) = error.strip_prefix("unknown field ") {
        return format!("the body has a key that this path does not know: {rest}");
    }
    if let Some(rest) = error.strip_prefix("missing field ") {
        return format!("the body lacks the key {rest}");
    }
    let mut text = error.to_owned();
    for (word, ours) in WORDS {
        text = text.replace(word, ours);
    }
    // The key without which there is not the same error.
    let culprit = given.keys().find(|key| {
        let mut others = given.clone();
        others.remove(*key);
        read::<B>(others).err().as_deref() != Some(error)
    });
    match culprit {
        Some(key) => format!("the value of `{key}` does not fit: {text}"),
        None => format!("the body does not fit this path: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{ScaleRequest, SignalRequest, WorkersRequest};

    #[track_caller]
    fn check<B: DeserializeOwned + std::fmt::Debug>(body: &str, expected: &str) {
        let why = understood::<B>(body.as_bytes()).expect_err("refused");
        assert_eq!(why, expected);
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_by_its_key() {
        understood::<WorkersRequest>(br#"{"workers":["a"],"wait":true}"#).expect("right");
        check::<WorkersRequest>("", "the body lacks the key `workers`");
        check::<WorkersRequest>(
            r#"{"workers":["a"],"wiat":true}"#,
            "the body has a key that this path does not know: `wiat`, expected one of `workers`, \
             `wait`, `timeout_ms`",
        );
        check::<WorkersRequest>(
            r#"{"workers":"a","wait":true}"#,
            "the value of `workers` does not fit: it is string \"a\", expected a list",
        );
        check::<WorkersRequest>(
            r#"{"workers":["a"],"wait":"yes"}"#,
            "the value of `wait` does not fit: it is string \"yes\", expected true or false",
        );
        check::<ScaleRequest>(
            r#"{"worker":"a","instances":-1}"#,
            "the value of `instances` does not fit: it is integer `-1`, expected a whole number \
             from 0",
        );
        check::<SignalRequest>(
            r#"{"workers":["a"],"signal":[1]}"#,
            "the value of `signal` does not fit: it has to be a name or number",
        );
        check::<WorkersRequest>(
            "[1]",
            "the body has to be a JSON object, as {\"workers\":[\"api\"]}",
        );
        let why = understood::<WorkersRequest>(b"workers=a").expect_err("refused");
        assert!(why.starts_with("the body is no JSON: "), "{why}");
    }
}
