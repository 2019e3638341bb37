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

/// What is wrong with a text that is another format, whatever the parser thinks of it: sections in
/// brackets, and `key=value` below them.
pub(super) fn other_format(text: &str) -> Option<Problem> {
    let is_word = |word: &str| {
        let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || "_-.:@ ".contains(letter);
        !word.is_empty() && word.chars().all(is_of_word)
    };
    let section = |line: &str| {
        line.strip_prefix('[')?
            .split_once(']')
            .map(|(name, _)| name.to_owned())
            .filter(|it| is_word(it))
    };
    let mut at = 0;
    let mut first = None;
    let mut lines = text.split_inclusive('\n').map(|line| {
        at += line.len();
        (at - line.len(), line.trim())
    });
    let is_text = |line: &str| !line.is_empty() && !line.starts_with([';', '#']);
    for (start, line) in lines.by_ref().filter(|(_, line)| is_text(line)) {
        match (&first, section(line)) {
            (None, Some(name)) => first = Some((start..start + line.len(), name)),
            (Some(_), Some(_)) => {}
            (Some(_), None) if line.split_once('=').is_some_and(|(key, _)| is_word(key.trim())) => {
                break;
            }
            (_, None) => return None,
        }
    }
    let (span, name) = first?;
    let whose = match name.as_str() {
        "Unit" | "Service" | "Install" => "a unit of systemd",
        _ => "a supervisord.conf",
    };
    let message = format!("this is an INI file, such as {whose}, and not YAML");
    Some(Problem::new(String::new(), span, message).help(
        "write it in YAML: `[program:api]` with `command=/usr/bin/api -v` becomes `workers:` \
         with `api: { command: [/usr/bin/api, -v] }` below it, indented; `check` knows most keys \
         of both and says what they are called here",
    ))
}

/// A line that should be a key, and has no colon: that before this byte with the last text.
fn without_colon(text: &str, at: usize) -> Option<Problem> {
    let before = &text[..at.min(text.len())];
    let begin = |end: usize| text[..end].rfind('\n').map_or(0, |newline| newline + 1);
    let mut end = begin(before.len());
    // The parser stops behind the line, or at the end of it.
    if before[end..].trim().is_empty() || !text[end..].starts_with([' ', '\n']) {
        end = before.trim_end().len();
    } else {
        end = text[..end].trim_end().len();
    }
    let line = &text[begin(end)..end];
    let word = line.trim_start();
    let start = begin(end) + line.len() - word.len();
    let is_word = !word.is_empty() && !word.contains([':', '#', '"', '\'', '[', '{', ' ', ',']);
    is_word.then(|| {
        let message = format!("`{word}` is no key: it has no `:`");
        Problem::new(String::new(), start..end, message).help(format!(
            "write `{word}: VALUE`, or `{word}:` with what belongs to it below, indented; an item \
             of a list is `- {word}`"
        ))
    })
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
    if info.contains("indentation in quoted scalar") {
        let (message, help) = ("a quoted text is not closed", "write the quote at its end");
        return match unclosed_quote(&text[..at.min(text.len())]) {
            Some(quote) => Problem::new(String::new(), quote..quote + 1, message).help(help),
            None => here(format!("{message} before this")).help(help),
        };
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
            None if let Some(problem) = without_colon(text, at) => problem,
            None => here("a `:` cannot stand here".into()).help(
                "indent this line like the keys beside it, and quote texts with `: ` in them",
            ),
        };
    }
    if info.contains("simple key") {
        let help = "write `KEY: VALUE`, or `- ITEM` for an item of a list";
        return without_colon(text, at)
            .unwrap_or_else(|| here("this line is no `KEY: VALUE`".into()).help(help));
    }
    if let Some(letter) = info.strip_prefix("unexpected character: `") {
        let letter = letter.trim_end_matches('\'');
        return here(format!("a text cannot begin with `{letter}`"))
            .help("put the whole text into quotes");
    }
    if info.contains("invalid trailing content") {
        return here("text after the quote that closes".into()).help(
            "put the whole text into one pair of quotes; a quote in it is `\\\"` in double quotes, \
             `''` in single ones; perhaps an earlier quote is not closed",
        );
    }
    if info.contains("escape") {
        return here("a `\\` in double quotes begins no known escape".into())
            .help("write `\\\\` for a backslash, or use single quotes, which know no escapes");
    }
    if info.contains("block sequence entries are not allowed") {
        return here("an item of a list cannot stand here".into())
            .help("begin the list in the next line, indented: `KEY:`, then `- ITEM` below it");
    }
    if info.contains("'-' indicator") {
        return here("this line is no item of the list above it".into())
            .help("begin it with `- `, or indent it like the key that it belongs to");
    }
    if info.contains("unexpected end of stream") {
        return here("a quoted text is not closed".into()).help("write the quote at its end");
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
        || info.contains("invalid indentation")
}

/// The last quote without another one in its line.
fn unclosed_quote(text: &str) -> Option<usize> {
    let mut end = text.len();
    for line in text.split_inclusive('\n').rev() {
        end -= line.len();
        let quote = ['"', '\''].into_iter().find(|quote| line.matches(*quote).count() == 1);
        if let Some(found) = quote.and_then(|quote| line.find(quote)) {
            return Some(end + found);
        }
    }
    None
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
