//! The tables as JSON Schema, in constructs that draft-07 and 2020-12 share. Editors complete, show
//! and mark by it; what it lets pass, `check` may still refuse.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::key::thousandths;
use super::{Key, Kind, Table};

/// The schema of a file with these keys.
#[must_use]
pub fn json_schema(top: &'static Table, title: &str) -> Value {
    let mut writer = Writer::default();
    let mut schema = writer.table(top, "#");
    schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".into(), title.into());
    schema.into()
}

/// A key that several tables have is written once; the others refer to it.
#[derive(Default)]
struct Writer {
    /// Where each key is written, by its address.
    written: BTreeMap<usize, String>,
}

impl Writer {
    fn table(&mut self, table: &'static Table, at: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in table.keys() {
            let here = format!("{at}/properties/{}", key.name);
            properties.insert(key.name.to_owned(), self.key(key, &here));
        }
        let needed: Vec<&str> =
            table.keys().filter(|key| key.is_needed).map(|key| key.name).collect();
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), properties.into());
        // `x-` is for what YAML alone needs, such as anchors.
        schema.insert("patternProperties".into(), json!({ "^x-": {} }));
        schema.insert("additionalProperties".into(), false.into());
        if !needed.is_empty() {
            schema.insert("required".into(), needed.into());
        }
        schema
    }

    fn key(&mut self, key: &'static Key, here: &str) -> Value {
        let address = std::ptr::from_ref(key).addr();
        if let Some(place) = self.written.get(&address) {
            return json!({ "$ref": place });
        }
        self.written.insert(address, here.to_owned());
        let mut schema = self.kind(&key.kind, here);
        schema.insert("description".into(), described(key).into());
        if let Some(default) = key.default {
            schema.insert("default".into(), value(default));
        }
        if let Some(example) = key.example {
            schema.insert("examples".into(), vec![value(example)].into());
        }
        schema.into()
    }

    fn kind(&mut self, kind: &'static Kind, at: &str) -> Map<String, Value> {
        let plain = match kind {
            Kind::Section(table) => return self.table(table, at),
            Kind::List(of) => {
                let items = self.kind(of, &format!("{at}/items"));
                json!({ "type": "array", "items": items })
            }
            Kind::OneOrMore(of) => {
                let one = self.kind(of, &format!("{at}/anyOf/0"));
                let items = self.kind(of, &format!("{at}/anyOf/1/items"));
                json!({ "anyOf": [one, { "type": "array", "items": items }] })
            }
            Kind::ByName(_, of) => {
                let each = self.kind(of, &format!("{at}/additionalProperties"));
                json!({ "type": ["object", "null"], "additionalProperties": each })
            }
            Kind::Either(kinds) => {
                let each = kinds.iter().enumerate();
                let each = each.map(|(at_kind, kind)| {
                    Value::from(self.kind(kind, &format!("{at}/anyOf/{at_kind}")))
                });
                json!({ "anyOf": each.collect::<Vec<_>>() })
            }
            kind => scalar(kind),
        };
        match plain {
            Value::Object(schema) => schema,
            _ => Map::new(),
        }
    }
}

/// A word alone, such as `true`, as YAML resolves it.
fn value(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|_| text.into())
}

fn scalar(kind: &Kind) -> Value {
    // YAML resolves `8080` to a number, and the readers take it as it is written.
    let text = json!(["string", "number", "boolean"]);
    match kind {
        Kind::Text | Kind::Path | Kind::Name | Kind::Pattern | Kind::Address => {
            json!({ "type": text })
        }
        Kind::Url => json!({ "type": "string", "pattern": "^http://" }),
        Kind::Signal => json!({ "type": "string", "pattern": "^([Ss][Ii][Gg])?[A-Za-z0-9]+$" }),
        Kind::Exit => json!({ "type": ["integer", "string"] }),
        Kind::Mode => json!({ "type": ["string", "integer"], "pattern": "^(0o)?[0-7]{1,4}$" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Number { low, high: i64::MAX } => json!({ "type": "integer", "minimum": low }),
        Kind::Number { low, high } => {
            json!({ "type": "integer", "minimum": low, "maximum": high })
        }
        Kind::Share { low, high } => json!({
            "type": "number", "minimum": thousandths(*low), "maximum": thousandths(*high)
        }),
        Kind::Percent => json!({ "type": "string", "pattern": "^[0-9]+ *%$" }),
        Kind::Processors => json!({ "type": ["integer", "string", "array"] }),
        // A bare `0` is a duration too.
        Kind::Duration => json!({
            "type": ["string", "integer"], "maximum": 0, "pattern": "^([0-9]+ *[A-Za-zµ]+ *)+$"
        }),
        Kind::Size => json!({
            "type": ["string", "integer"], "minimum": 0, "pattern": "^[0-9]+ *(B|[KMGT](iB)?)?$"
        }),
        Kind::Words(words) => {
            json!({ "enum": words.iter().map(|word| value(word)).collect::<Vec<_>>() })
        }
        Kind::Nothing => json!({ "type": "null" }),
        Kind::Command => json!({ "type": "array", "items": { "type": text }, "minItems": 1 }),
        Kind::Section(_)
        | Kind::List(_)
        | Kind::OneOrMore(_)
        | Kind::ByName(..)
        | Kind::Either(_)
        | Kind::Anything => json!({}),
    }
}

/// What an editor shows beside the key.
fn described(key: &Key) -> String {
    match key.only_for.in_words() {
        Some(whom) => format!("{} For {whom}.", key.about),
        None => key.about.to_owned(),
    }
}
