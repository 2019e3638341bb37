//! One table of keys: what can stand in a file, beside the reader of each. A reader takes a key of a
//! table, so that no other can be read; and all that is told of keys comes from the tables.
//!
//! | file | concept |
//! |---|---|
//! | `key`, `kind` | a key; what its value looks like |
//! | `table` | the keys of one mapping |
//! | `find` | a key by its path |
//! | `json` | the tables as JSON Schema |

mod find;
mod json;
pub(crate) mod key;
pub(crate) mod kind;
pub(crate) mod table;

pub use find::{Found, Unknown, find};
pub use json::json_schema;
pub use key::{Key, OnlyFor};
pub use kind::Kind;
pub use table::Table;

#[cfg(test)]
mod tests;
