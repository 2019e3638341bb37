//! What is wrong with an argument that is one of several kinds: an enum, with data in some of its
//! variants. A mapping with one key stands for such a variant, its name alone for one without data.

use std::collections::BTreeSet;
use std::ops::Range;

use workers::runtime::arguments::Place;
use workers::runtime::shape::{Inside, Shape};

use super::node::Node;
use super::problem::Problem;

/// What serde says where the mapping has no key, or several.
const ONE_KEY: &str = "expected map with a single key";

/// Whether this says no more than that the only key of a variant was taken away, which was wrong
/// inside and is reported.
pub(super) fn is_echo(error: &str, place: &Place, removed: &BTreeSet<String>) -> bool {
    let place = place.to_string();
    let is_inside = |gone: &String| {
        place.is_empty() || gone.strip_prefix(&place).is_some_and(|rest| rest.starts_with('.'))
    };
    error.ends_with(ONE_KEY) && removed.iter().any(is_inside)
}

/// The same in the words of the file; `None`: it is wrong in another way.
pub(super) fn problem(
    (path, span): (&str, &Range<usize>),
    value: &Node,
    shape: Option<&Shape>,
    error: &str,
) -> Option<Problem> {
    let problem = |message: String| Problem::new(path.to_owned(), span.clone(), message);
    if error.ends_with(ONE_KEY) {
        let problem = problem("expected a mapping with one key, the kind of its value".to_owned());
        return Some(match shape.map(|shape| &shape.inside) {
            Some(Inside::Words(words)) => problem.expected(format!("one of: {}", words.join(", "))),
            _ => problem,
        });
    }
    let kind = error.strip_prefix("invalid type: unit variant, expected ")?;
    let data = match kind {
        "newtype variant" => "...",
        "tuple variant" => "[ ... ]",
        _ => "{ ... }",
    };
    let word = value.text()?;
    Some(problem(format!("`{word}` lacks its value")).help(format!("write `{{ {word}: {data} }}`")))
}
