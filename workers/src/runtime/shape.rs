//! What a type wants to be read from, found by asking it: a deserializer notes what it is asked
//! for, and gives nothing. So the keys of `args:` are known without a description of them.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

type Error = serde::de::value::Error;

/// Types inside each other that are looked at; one that has itself inside has no end.
const DEPTH: usize = 8;

/// What a type wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// In the words of the type: `u32`, `a string`, `struct Args`.
    pub expected: String,
    /// Whether it may be missing or null, as its type says; a default of the type is not seen.
    pub is_optional: bool,
    /// What is inside.
    pub inside: Inside,
}

/// What is inside a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inside {
    /// Nothing, or nothing that is known.
    #[default]
    Unknown,
    /// Nothing at all can be given.
    Nothing,
    /// These keys, each with what it wants.
    Keys(Vec<(&'static str, Shape)>),
    /// Items, which all want the same.
    Items(Box<Shape>),
    /// Keys of the user's choice, whose values all want the same.
    Entries(Box<Shape>),
    /// One of these words.
    Words(&'static [&'static str]),
}

/// What a type wants.
pub(crate) fn of<A: DeserializeOwned>() -> Shape {
    at::<A>(&mut Vec::new())
}

/// Whether a type is `()`, or one like it: it can be made of nothing alone.
pub(crate) fn takes_none<A: DeserializeOwned>() -> bool {
    asked::<A>(&[]).is_some_and(|asked| matches!(asked.for_, For::Nothing))
}

fn at<A: DeserializeOwned>(way: &mut Vec<Turn>) -> Shape {
    let Some(Asked { expected, is_optional, for_ }) = asked::<A>(way) else {
        return Shape::default();
    };
    let mut step = |turn| {
        way.push(turn);
        let shape = if way.len() < DEPTH { at::<A>(way) } else { Shape::default() };
        way.pop();
        shape
    };
    let inside = match for_ {
        For::Anything => Inside::Unknown,
        For::Nothing => Inside::Nothing,
        For::Fields(fields) => {
            Inside::Keys(fields.iter().map(|field| (*field, step(Turn::Field(field)))).collect())
        }
        For::Items => Inside::Items(Box::new(step(Turn::Item))),
        For::Entries => Inside::Entries(Box::new(step(Turn::Entry))),
        For::Variants(words) => Inside::Words(words),
    };
    Shape { expected, is_optional, inside }
}

/// A step inside.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Field(&'static str),
    Item,
    Entry,
}

#[derive(Clone, Copy, Debug)]
enum For {
    Anything,
    Nothing,
    Fields(&'static [&'static str]),
    Items,
    Entries,
    Variants(&'static [&'static str]),
}

#[derive(Debug)]
struct Asked {
    expected: String,
    is_optional: bool,
    for_: For,
}

/// What it asks for at the end of this way.
fn asked<A: DeserializeOwned>(way: &[Turn]) -> Option<Asked> {
    let found = RefCell::new(None);
    let _ = A::deserialize(Probe { way, is_optional: false, found: &found });
    found.into_inner()
}

/// Follows a way, and notes what is asked for at its end.
#[derive(Clone, Copy)]
struct Probe<'a> {
    way: &'a [Turn],
    is_optional: bool,
    found: &'a RefCell<Option<Asked>>,
}

impl<'a> Probe<'a> {
    fn on<'de, V: Visitor<'de>>(self, visitor: V, for_: For) -> Result<V::Value, Error> {
        let Some((turn, way)) = self.way.split_first() else {
            let expected = (&visitor as &dyn Expected).to_string();
            let asked = Asked { expected, is_optional: self.is_optional, for_ };
            *self.found.borrow_mut() = Some(asked);
            return Err(Error::custom("it was only asked"));
        };
        let next = Next { probe: Probe { way, is_optional: false, ..self }, key: None };
        match (turn, for_) {
            (Turn::Field(key), For::Fields(_)) => {
                visitor.visit_map(Next { key: Some(*key), ..next })
            }
            (Turn::Item, For::Items) => visitor.visit_seq(next),
            (Turn::Entry, For::Entries) => visitor.visit_map(Next { key: Some("key"), ..next }),
            _ => Err(Error::custom("it asks for something else")),
        }
    }
}

/// The one value that is given: a probe.
struct Next<'a> {
    probe: Probe<'a>,
    key: Option<&'static str>,
}

impl<'de> MapAccess<'de> for Next<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let key = self.key.take();
        key.map(|key| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.probe)
    }
}

impl<'de> SeqAccess<'de> for Next<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        seed.deserialize(self.probe).map(Some)
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.on(visitor, For::Anything)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(Self { is_optional: true, ..self })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.on(visitor, For::Nothing)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.on(visitor, For::Nothing)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.on(visitor, For::Items)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.on(visitor, For::Entries)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.on(visitor, For::Fields(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.on(visitor, For::Variants(variants))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf tuple
        tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is only asked")]
    struct Args {
        count: u32,
        to: Option<Vec<Target>>,
        names: BTreeMap<String, bool>,
        mode: Mode,
        rest: serde_json::Value,
        again: Option<Box<Args>>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is only asked")]
    struct Target {
        address: std::net::SocketAddr,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        Fast,
        Slow,
    }

    fn named(shape: &Shape) -> Vec<(&str, &str, bool)> {
        let Inside::Keys(keys) = &shape.inside else { panic!("no keys: {shape:?}") };
        keys.iter().map(|(key, of)| (*key, of.expected.as_str(), of.is_optional)).collect()
    }

    #[test]
    fn a_type_tells_its_keys_and_what_each_wants() {
        let shape = of::<Args>();
        assert_eq!(
            named(&shape),
            [
                ("count", "u32", false),
                ("to", "a sequence", true),
                ("names", "a map", false),
                ("mode", "enum Mode", false),
                ("rest", "any valid JSON value", false),
                ("again", "struct Args", true),
            ]
        );
        let Inside::Keys(keys) = &shape.inside else { unreachable!() };
        let Inside::Items(item) = &keys[1].1.inside else { panic!("a list: {shape:?}") };
        assert_eq!(named(item), [("address", "socket address", false)]);
        assert_eq!(keys[3].1.inside, Inside::Words(&["fast", "slow"]));
    }

    #[test]
    fn nothing_is_wanted_where_nothing_can_be_given() {
        #[derive(Deserialize)]
        struct Unit;
        #[derive(Deserialize)]
        struct Empty {}
        assert!(takes_none::<()>() && takes_none::<Unit>());
        assert!(takes_none::<Option<Unit>>() && !takes_none::<Empty>());
        assert_eq!(of::<Empty>().inside, Inside::Keys(Vec::new()));
    }
}
