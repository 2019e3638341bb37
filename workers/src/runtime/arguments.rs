//! From `args:` to the type that a worker takes: what is wrong, with its place, and what the type
//! ignores.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::shape::{self, Inside, Shape};

/// A step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Step {
    /// The value of this key.
    Key(String),
    /// The item with this number, from 0.
    Item(usize),
}

/// Where a value is, from `args:` on; empty: `args:` as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place(pub Vec<Step>);

impl fmt::Display for Place {
    /// `limits.sizes[2]`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if number == 0 => formatter.write_str(key)?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Item(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Why a worker does not take its arguments.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Refused {
    /// Some are given, and it takes none.
    TakesNone,
    /// This value is not what its type wants; the text is serde's.
    Value(Place, String),
    /// They have the right types, and the function that makes the worker wants others.
    /// Whether it says that no restart mends it.
    Maker(String, bool),
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakesNone => formatter.write_str("it takes none"),
            // The text has the key.
            Self::Value(_, text) if text.starts_with("unknown field ") => formatter.write_str(text),
            Self::Value(place, text) if place.0.is_empty() => formatter.write_str(text),
            Self::Value(place, text) => write!(formatter, "{place}: {text}"),
            Self::Maker(error, _) => formatter.write_str(error),
        }
    }
}

/// Arguments as their type has them, and the places of those that it ignores.
///
/// # Errors
/// They are not of this type.
pub(crate) fn read<A: DeserializeOwned>(args: &Value) -> Result<(A, Vec<Place>), Refused> {
    let nothing = Value::Object(Map::new());
    let is_nothing = args.is_null() || *args == nothing;
    let args = match (is_nothing, shape::takes_none::<A>()) {
        (true, true) => &Value::Null,
        (false, true) => return Err(Refused::TakesNone),
        (true, false) => &nothing,
        (false, false) => args,
    };
    if has_list(args)
        && let Some((place, expected)) = list_for_keys(args, &shape::of::<A>())
    {
        let error = format!("invalid type: sequence, expected {expected}");
        return Err(Refused::Value(place, error));
    }
    let mut track = serde_path_to_error::Track::new();
    let mut ignored = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| ignored.push(ignored_place(&path));
    let tracked = serde_path_to_error::Deserializer::new(args, &mut track);
    let read = A::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    match read {
        Ok(read) => Ok((read, ignored)),
        Err(error) => {
            // A type that may be left out as a whole is not there where nothing is written.
            let left_out = if is_nothing { A::deserialize(Value::Null).ok() } else { None };
            let refused = || Refused::Value(place(&track.path()), error.to_string());
            left_out.map(|read| (read, Vec::new())).ok_or_else(refused)
        }
    }
}

/// Arguments that are asked for at most.
const REQUIRED_MAX: usize = 100;

/// The arguments that cannot be left out, with those inside of them (`limits.size`). A type says
/// which it misses, one after the other, if the ones before are there: so something that it takes
/// is tried in their place. Where nothing that is tried is taken, those after it are not known.
pub(crate) fn required<A: DeserializeOwned>() -> Vec<String> {
    let (mut args, mut found) = (Value::Object(Map::new()), Vec::new());
    while found.len() < REQUIRED_MAX {
        let Some(place) = missing::<A>(&args) else { break };
        let path = place.to_string();
        if found.contains(&path) {
            break;
        }
        found.push(path);
        let is_taken = guesses()
            .into_iter()
            .any(|guess| put(&mut args, &place, guess) && is_taken_so_far::<A>(&args, &place));
        if !is_taken {
            break;
        }
    }
    found
}

/// The argument that the type misses first.
fn missing<A: DeserializeOwned>(args: &Value) -> Option<Place> {
    let Err(Refused::Value(mut place, error)) = read::<A>(args) else { return None };
    let key = error.strip_prefix("missing field `")?.split('`').next()?;
    place.0.push(Step::Key(key.to_owned()));
    Some(place)
}

/// Whether what stands at this place is of the right type, but for keys that are missing in it.
fn is_taken_so_far<A: DeserializeOwned>(args: &Value, at: &Place) -> bool {
    match read::<A>(args) {
        Err(Refused::Value(place, error)) if place.0.starts_with(&at.0) => {
            place == *at && error.starts_with("missing field `")
        }
        _ => true,
    }
}

/// Writes a value there. Whether all that it lies in are mappings.
fn put(args: &mut Value, at: &Place, value: Value) -> bool {
    let mut inside = args;
    for step in &at.0 {
        let (Step::Key(key), Value::Object(map)) = (step, inside) else { return false };
        inside = map.entry(key.clone()).or_insert(Value::Null);
    }
    *inside = value;
    true
}

/// What many types are read from.
fn guesses() -> Vec<Value> {
    use serde_json::json;
    vec![
        json!(1),
        json!("x"),
        json!("1s"),
        json!("127.0.0.1:1"),
        json!("127.0.0.1"),
        json!(true),
        json!([]),
        json!({}),
    ]
}

fn has_list(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::Object(entries) => entries.values().any(has_list),
        _ => false,
    }
}

/// Where a list stands for a type with keys, and what that is called: serde takes the items for the
/// values of its keys, in the order of the source, which no file should depend on.
fn list_for_keys(value: &Value, shape: &Shape) -> Option<(Place, String)> {
    let inside = |step: Step, value: &Value, shape: &Shape| {
        let (mut place, expected) = list_for_keys(value, shape)?;
        place.0.insert(0, step);
        Some((place, expected))
    };
    match (value, &shape.inside) {
        (Value::Array(_), Inside::Keys(_)) => Some((Place::default(), shape.expected.clone())),
        (Value::Array(items), Inside::Items(of)) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| inside(Step::Item(index), item, of))
        }
        (Value::Object(entries), Inside::Entries(of)) => {
            let mut entries = entries.iter();
            entries.find_map(|(key, value)| inside(Step::Key(key.clone()), value, of))
        }
        (Value::Object(entries), Inside::Keys(keys)) => keys.iter().find_map(|(key, shape)| {
            inside(Step::Key((*key).to_owned()), entries.get(*key)?, shape)
        }),
        _ => None,
    }
}

fn place(path: &serde_path_to_error::Path) -> Place {
    use serde_path_to_error::Segment;
    let steps = path.iter().map_while(|segment| match segment {
        Segment::Seq { index } => Some(Step::Item(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { variant } => Some(Step::Key(variant.clone())),
        Segment::Unknown => None,
    });
    Place(steps.collect())
}

fn ignored_place(path: &serde_ignored::Path<'_>) -> Place {
    use serde_ignored::Path;
    let (parent, step) = match path {
        Path::Root => return Place::default(),
        Path::Seq { parent, index } => (parent, Some(Step::Item(*index))),
        Path::Map { parent, key } => (parent, Some(Step::Key(key.clone()))),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut place = ignored_place(parent);
    place.0.extend(step);
    place
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is read into")]
    struct Needs {
        whom: String,
        size: Option<u8>,
        #[serde(default)]
        times: u8,
        at: std::net::SocketAddr,
        limits: Limits,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is read into")]
    struct Nested {
        limits: Size,
        path: String,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is read into")]
    struct Size {
        size: u32,
        #[serde(default)]
        ratio: f64,
    }

    #[test]
    fn what_cannot_be_left_out_is_found_by_asking() {
        assert_eq!(required::<Needs>(), ["whom", "at", "limits", "limits.sizes"]);
        assert_eq!(required::<Nested>(), ["limits", "limits.size", "path"]);
        assert_eq!(required::<()>(), Vec::<String>::new());
        assert_eq!(required::<u8>(), Vec::<String>::new());
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is read into")]
    struct Strict {
        limits: Limits,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is read into")]
    struct Limits {
        sizes: Vec<u8>,
        #[serde(default)]
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code, reason = "it is read into")]
    enum Mode {
        Fast,
        Slow { by: u32 },
    }

    #[derive(Debug, Deserialize)]
    struct Unit;

    fn refused<A: DeserializeOwned + fmt::Debug>(args: &Value) -> String {
        read::<A>(args).expect_err("wrong arguments").to_string()
    }

    #[test]
    fn an_error_has_the_place_of_the_very_value() {
        for (args, place) in [
            (json!({ "limits": { "sizes": [1, 300] } }), "limits.sizes[1]"),
            (
                json!({ "limits": { "sizes": [], "mode": { "slow": { "by": "x" } } } }),
                "limits.mode.slow.by",
            ),
            (json!({ "limits": {} }), "limits"),
            (json!({}), ""),
            (json!({ "limit": 1 }), "limit"),
        ] {
            let Err(Refused::Value(found, text)) = read::<Strict>(&args) else {
                panic!("{args} is wrong");
            };
            assert_eq!(found.to_string(), place, "{args}: {text}");
        }
        let said = refused::<Strict>(&json!({ "limits": { "sizes": [300] } }));
        assert!(said.starts_with("limits.sizes[0]: invalid value: integer `300`"), "{said}");
    }

    #[test]
    fn what_a_type_ignores_is_named() {
        let args = json!({ "limits": { "sizes": [1], "size": 2, "mode": null } });
        let (_, ignored) = read::<Strict>(&args).expect("valid");
        let ignored: Vec<String> = ignored.iter().map(ToString::to_string).collect();
        assert_eq!(ignored, ["limits.size"]);
    }

    #[test]
    fn a_worker_without_arguments_takes_none() {
        for nothing in [Value::Null, json!({})] {
            assert!(read::<()>(&nothing).is_ok() && read::<Unit>(&nothing).is_ok());
        }
        for something in [json!({ "a": 1 }), json!([1]), json!("x")] {
            assert_eq!(refused::<()>(&something), "it takes none");
            assert_eq!(refused::<Unit>(&something), "it takes none");
        }
        let left_out = read::<Option<Limits>>(&Value::Null).expect("it may be left out").0;
        assert!(left_out.is_none());
        let given = read::<Option<Limits>>(&json!({ "sizes": [1] })).expect("valid").0;
        assert!(given.is_some());
    }
}
