//! Where a value stands in a text, from its first byte to its last: a node knows only where it
//! begins, since no message needs more.

use std::ops::Range;

use saphyr_parser::{Event, Parser};

/// The value of the key that stands there. A mapping or a list without brackets ends with its last
/// word. Empty where there is no such key.
#[must_use]
pub(crate) fn of_value(text: &str, key: &Range<usize>) -> Range<usize> {
    let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let byte = |character: usize| bytes.get(character).copied().unwrap_or(text.len());
    let (mut is_found, mut start, mut depth) = (false, None, 0_usize);
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let (begins, ends) = (byte(span.start.index()), byte(span.end.index()));
        if !is_found {
            is_found = matches!(event, Event::Scalar(..)) && begins == key.start;
            continue;
        }
        let start = *start.get_or_insert(begins);
        match &event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            Event::Scalar(..)
            | Event::Alias(_)
            | Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        if depth == 0 {
            // What ends a mapping or a list is its bracket; without one, what follows.
            let is_end = matches!(event, Event::SequenceEnd | Event::MappingEnd);
            let has_bracket = text[begins..].starts_with(['}', ']']);
            let end = if is_end { begins + usize::from(has_bracket) } else { ends }.max(start);
            return start..start + text[start..end].trim_end().len();
        }
    }
    key.start..key.start
}

#[cfg(test)]
mod tests {
    use super::of_value;

    #[test]
    fn a_value_begins_after_its_key_and_ends_with_its_last_word() {
        let text =
            "é: 1\na: { b: [1, 2] } # x\nc:\n  d: 1\n  e:\n    - 2\n    - three\nf: 'g: h'\n";
        let value = |key: &str| {
            let at = text.find(key).expect("there");
            &text[of_value(text, &(at..at + 1))]
        };
        assert_eq!(value("a:"), "{ b: [1, 2] }");
        assert_eq!(value("c:"), "d: 1\n  e:\n    - 2\n    - three");
        assert_eq!(value("e:"), "- 2\n    - three");
        assert_eq!(value("f:"), "'g: h'");
        assert_eq!(of_value(text, &(1..2)), 1..1, "no key begins there");
    }
}
