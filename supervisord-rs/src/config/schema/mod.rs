//! One table of keys: what can stand in a file, beside the reader of each. A reader takes a key of a
//! table, so that no other can be read; and every text about keys comes from the tables.
//!
//! | file | concept |
//! |---|---|
//! | `key` | a key, what its value looks like, the keys of one mapping |
//! | `find` | a key by its path |
//! | `json` | the tables as JSON Schema |

mod find;
mod json;
pub(crate) mod key;

pub use find::{Found, Unknown, find};
pub use json::json_schema;
pub use key::{Key, Kind, OnlyFor, Table};

#[cfg(test)]
mod tests;
