//! A report for people: tables on a terminal, a page for a browser.

mod document;
mod page;
mod text;

pub use document::{document, escaped, figure};
pub use page::{html, spread};
pub use text::text;
