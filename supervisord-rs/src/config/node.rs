//! One value of the tree: where it stands, and how `defaults:` lie under it.

use std::ops::Range;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
    /// Whether it stands under `defaults:`, and not where it is used.
    pub(super) is_default: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `plain`: without quotes, so that `true` and `1` mean what they look like.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    /// The value of a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Gives a key of a mapping this value, in place of any other.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        let key_span = value.span.clone();
        self.remove(key);
        if let Value::Map(entries) = &mut self.value {
            entries.push(Entry { key: key.to_owned(), key_span, value });
        }
    }

    /// Takes a key out of a mapping.
    pub(super) fn remove(&mut self, key: &str) -> Option<Self> {
        let Value::Map(entries) = &mut self.value else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at).value)
    }

    /// A scalar that stands at the place of this.
    pub(super) fn scalar_here(&self, text: impl Into<String>, plain: bool) -> Self {
        let value = Value::Scalar { text: text.into(), plain };
        Self { value, span: self.span.clone(), is_default: false }
    }

    /// A text that stands at this place, such as a key of this.
    pub(super) fn scalar_at(&self, span: &Range<usize>, text: &str) -> Self {
        Self { span: span.clone(), ..self.scalar_here(text, false) }
    }

    /// A scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing is written here: `key:` or `key: null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => false,
        }
    }

    /// This with `defaults` under it: mappings merge key by key, other values replace as a whole.
    pub(super) fn over(mut self, defaults: &Self) -> Self {
        let (Value::Map(own), Value::Map(below)) = (&mut self.value, &defaults.value) else {
            return self;
        };
        for entry in below {
            match own.iter_mut().find(|known| known.key == entry.key) {
                None => {
                    own.push(Entry {
                        value: entry.value.clone().marked_default(),
                        ..entry.clone()
                    });
                }
                Some(_) if WHOLE.contains(&entry.key.as_str()) => {}
                Some(known) => {
                    let value = std::mem::replace(&mut known.value, defaults.clone());
                    known.value = value
                        .spelled_out(&known.key)
                        .over(&entry.value.clone().spelled_out(&entry.key));
                }
            }
        }
        self
    }

    /// `restart: always` is `restart: { policy: always }`.
    fn spelled_out(self, key: &str) -> Self {
        let is_short = matches!(self.value, Value::Scalar { .. }) && !self.is_null();
        match key {
            "restart" if is_short => {
                let (span, is_default) = (self.span.clone(), self.is_default);
                let entry = Entry { key: "policy".into(), key_span: span.clone(), value: self };
                Self { value: Value::Map(vec![entry]), span, is_default }
            }
            _ => self,
        }
    }

    fn marked_default(mut self) -> Self {
        self.is_default = true;
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::List(nodes) => {
                for node in nodes {
                    *node = std::mem::replace(node, EMPTY).marked_default();
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    entry.value = std::mem::replace(&mut entry.value, EMPTY).marked_default();
                }
            }
        }
        self
    }

    /// This with every text changed; keys stay.
    pub(super) fn map_texts(mut self, change: &impl Fn(&str) -> String) -> Self {
        match &mut self.value {
            Value::Scalar { text, .. } => *text = change(text),
            Value::List(nodes) => {
                for node in nodes {
                    *node = std::mem::replace(node, EMPTY).map_texts(change);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    entry.value = std::mem::replace(&mut entry.value, EMPTY).map_texts(change);
                }
            }
        }
        self
    }
}

impl Node {
    /// A mapping, a list or nothing is marked by its key: its own place is a bracket, or that of
    /// its first entry.
    pub(super) fn marked_at(mut self, key: &Range<usize>) -> Self {
        if self.is_null() || !matches!(self.value, Value::Scalar { .. }) {
            self.span = key.clone();
        }
        self
    }
}

/// Stands in while a node is changed.
const EMPTY: Node = Node { value: Value::List(Vec::new()), span: 0..0, is_default: false };

/// Keys of a worker that replace those of `defaults:` and are not merged with them.
const WHOLE: [&str; 5] = ["depends_on", "inject", "sockets", "hooks", "ready"];
