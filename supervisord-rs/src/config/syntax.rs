//! What the YAML parser objects to, in words of what was written.

use std::ops::Range;

use super::problem::Problem;

/// A list or mapping that is still open where the parser stopped.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Its first character.
    pub(super) span: Range<usize>,
}

impl Open {
    /// Its bracket, the one that closes it, and what it is; `None` where indentation does that.
    fn bracket(&self, text: &str) -> Option<(char, char, &'static str)> {
        match text.as_bytes().get(self.span.start)? {
            b'{' => Some(('{', '}', "mapping")),
            b'[' => Some(('[', ']', "list")),
            _ => None,
        }
    }
}

/// The problem for a complaint of the parser at a byte. `open`: what is not closed there.
pub(super) fn problem(info: &str, text: &str, at: usize, open: &[Open]) -> Problem {
    let end = text.len().min(at + 1);
    let open = open.iter().rev().find_map(|open| Some((open, open.bracket(text)?)));
    let here = |message: String| Problem::new(String::new(), at..end, message);
    if let Some(nul) = text.find('\0') {
        return Problem::new(String::new(), nul..nul + 1, "a NUL byte: this is not a text file")
            .help("remove it, or name another file");
    }
    let is_end = text[at.min(text.len())..].trim().is_empty();
    if let Some((open, (bracket, closing, what))) = open
        && is_end
    {
        return Problem::new(
            String::new(),
            open.span.clone(),
            format!("the {what} that `{bracket}` opens is never closed"),
        )
        .help(format!("write `{closing}` at its end"));
    }
    if let Some((open, (bracket, closing, what))) = open.filter(|_| is_about_brackets(info)) {
        return here(format!("the {what} that `{bracket}` opens is not closed before this"))
            .beside(open.span.clone(), "opened here")
            .help(format!("write `{closing}` or `,` here"));
    }
    if info.contains("tab") {
        let tab =
            text[..at.min(text.len())].rfind('\t').filter(|tab| !text[*tab..at].contains('\n'));
        let at = tab.unwrap_or(at);
        return Problem::new(String::new(), at..at + 1, "YAML does not allow a tab here")
            .help("indent with spaces");
    }
    if info.contains("mapping values are not allowed") {
        return match value_before(text, at) {
            Some(span) => {
                let value = text[span.clone()].to_owned();
                Problem::new(String::new(), span, "a text that contains `: ` needs quotes")
                    .help(format!("write {}", quoted(&value)))
            }
            None => here("a `:` cannot stand here".into()).help(
                "indent this line like the keys beside it, and quote texts with `: ` in them",
            ),
        };
    }
    if info.contains("unexpected end of stream") {
        return here("a quoted text is not closed".into());
    }
    if info.contains("did not find expected key") || info.contains("invalid indentation") {
        return here("this line is indented like none of the lines before it".into())
            .help("indent keys of one mapping alike, and quote texts with special characters");
    }
    here(format!("not valid YAML: {info}"))
}

fn is_about_brackets(info: &str) -> bool {
    info.contains("flow sequence")
        || info.contains("flow mapping")
        || info.contains("flow construct")
}

/// The text of `key: C: x` that begins behind the first colon; the parser stops at the second.
fn value_before(text: &str, at: usize) -> Option<Range<usize>> {
    let begin = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    let line = &text[begin..end];
    let value = begin + line.find(": ")? + 2;
    let trimmed = value + text[value..end].len() - text[value..end].trim_start().len();
    let last = text[..end].trim_end().len();
    (trimmed < at && at < last).then_some(trimmed..last)
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
