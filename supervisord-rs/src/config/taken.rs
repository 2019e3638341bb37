//! The arguments that a registered worker takes: as its type tells, and as its schema says.

use serde::Serialize;
use serde_json::Value as Json;
use workers::Registry;
use workers::runtime::shape::{Inside, Shape};

use super::arguments::wanted;
use super::reader::join;

/// One argument, for people.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// Its keys: `limits.size`; `targets[].port` in each item of a list, `names.*` under keys of
    /// the user's choice.
    pub path: String,
    /// What it takes, in words.
    pub takes: String,
    /// Whether it cannot be left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What holds without it, as the schema says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// What it is for, as the schema says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// All arguments of a worker, one after the other.
#[must_use]
pub fn taken(registry: &Registry, worker: &str) -> Vec<Argument> {
    let mut list = Vec::new();
    if let Some(shape) = registry.shape(worker) {
        let schema = registry.schema_of(worker);
        List { whole: schema, list: &mut list }.inside("", &shape, schema);
        let required = registry.required(worker);
        list.iter_mut().for_each(|argument| argument.required = required.contains(&argument.path));
    }
    list
}

struct List<'a> {
    /// The whole schema, which has what is referred to.
    whole: Option<&'a Json>,
    list: &'a mut Vec<Argument>,
}

impl<'a> List<'a> {
    fn inside(&mut self, path: &str, shape: &Shape, schema: Option<&'a Json>) {
        let schema = schema.map(|schema| self.referred(schema));
        match &shape.inside {
            Inside::Unknown | Inside::Nothing | Inside::Words(_) => {}
            Inside::Items(of) => {
                self.inside(
                    &format!("{path}[]"),
                    of,
                    schema.and_then(|schema| schema.get("items")),
                );
            }
            Inside::Entries(of) => {
                let of_all = schema.and_then(|schema| schema.get("additionalProperties"));
                self.inside(&join(path, "*"), of, of_all);
            }
            Inside::Keys(keys) => {
                for (key, shape) in keys {
                    let schema = schema.and_then(|schema| schema.get("properties")?.get(key));
                    let path = join(path, key);
                    self.one(&path, shape, schema);
                    self.inside(&path, shape, schema);
                }
            }
        }
    }

    fn one(&mut self, path: &str, shape: &Shape, schema: Option<&'a Json>) {
        let takes = match &shape.inside {
            Inside::Words(words) => words.join(" or "),
            Inside::Entries(_) => "a mapping with keys of your choice".to_owned(),
            _ => wanted(&shape.expected),
        };
        let takes = if shape.is_optional { format!("{takes}, or nothing") } else { takes };
        let default = schema.and_then(|schema| schema.get("default")).cloned();
        let about = schema.and_then(|schema| schema.get("description")?.as_str());
        let about = about.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        self.list.push(Argument { path: path.to_owned(), takes, required: false, default, about });
    }

    /// `{ $ref: "#/$defs/Limits" }` is what stands there.
    fn referred(&self, schema: &'a Json) -> &'a Json {
        let pointer = schema.get("$ref").and_then(|at| at.as_str()?.strip_prefix('#'));
        pointer.and_then(|pointer| self.whole?.pointer(pointer)).unwrap_or(schema)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is only asked")]
    struct Args {
        limits: Limits,
        targets: Vec<Limits>,
        names: BTreeMap<String, String>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is only asked")]
    struct Limits {
        size: Option<u8>,
    }

    #[test]
    fn the_type_tells_the_keys_and_the_schema_what_they_are_for() {
        let schema = json!({
            "properties": {
                "limits": { "$ref": "#/$defs/Limits" },
                "names": { "description": "who\n  they are" },
            },
            "$defs": { "Limits": { "properties": {
                "size": { "description": "how many", "default": 7 },
            } } },
        });
        let registry =
            Registry::default().function("w", "", |_, _: Args| Ok(())).schema("w", schema);
        let argument = |path: &str, takes: &str, default: Option<Json>, about: Option<&str>| {
            let (path, takes) = (path.to_owned(), takes.to_owned());
            let required = ["limits", "targets", "names"].contains(&path.as_str());
            Argument { path, takes, required, default, about: about.map(str::to_owned) }
        };
        let number = "a whole number from 0, or nothing";
        assert_eq!(
            taken(&registry, "w"),
            [
                argument("limits", "a mapping, such as { key: value }", None, None),
                argument("limits.size", number, Some(json!(7)), Some("how many")),
                argument("targets", "a list", None, None),
                argument("targets[].size", number, None, None),
                argument("names", "a mapping with keys of your choice", None, Some("who they are")),
            ]
        );
        assert_eq!(taken(&registry, "other"), []);
    }
}
