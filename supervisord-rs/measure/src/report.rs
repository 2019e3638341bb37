//! A report for people: tables on a terminal, a page for a browser.

mod page;
mod text;

pub use page::html;
pub use text::text;
