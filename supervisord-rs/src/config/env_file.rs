//! The text of an `env_file`: `NAME=value` lines, as shells and systemd write them.
//!
//! `export ` in front, comments, and a mark of byte order are passed over. A value in quotes may go
//! on over several lines; in double quotes `\"`, `\\`, `\$`, and `` \` `` stand for the character
//! after the backslash, and a backslash at the end of a line joins it to the next one.

/// A line, from 1, that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It has bytes that are no text.
    NotUtf8(usize),
    /// It is no variable, or its quote is never closed.
    NotVariable(usize),
}

/// The variables in their order.
///
/// # Errors
/// The first line that is none.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, Wrong> {
    let text = str::from_utf8(bytes)
        .map_err(|error| Wrong::NotUtf8(line_at(bytes, error.valid_up_to())))?;
    variables(text).map_err(Wrong::NotVariable)
}

/// The number of the line, from 1, that a position is in.
pub(crate) fn line_at(bytes: &[u8], position: usize) -> usize {
    1 + bytes[..position].iter().filter(|&&byte| byte == b'\n').count()
}

/// The error is the number of the line.
fn variables(text: &str) -> Result<Vec<(String, String)>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let mut lines = text.lines().zip(1_usize..);
    while let Some((line, number)) = lines.next() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(number)?;
        let (name, value) = (name.trim(), value.trim_start());
        if !is_name(name) {
            return Err(number);
        }
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let rest = lines.by_ref().map(|(line, _)| line);
                quoted(&value[1..], quote, rest).ok_or(number)?
            }
            _ => value.trim_end().to_owned(),
        };
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// The value from behind its opening quote to the closing one. `rest`: the lines that follow.
/// `None` when the quote is never closed.
fn quoted<'a>(
    first: &'a str,
    quote: char,
    mut rest: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let mut value = String::new();
    let mut line = first;
    loop {
        let mut letters = line.char_indices().peekable();
        let mut is_joined = false;
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                let after = &line[at + 1..];
                // `"a"b"`: the quotes in the middle are the value's own, as they always were.
                if !after.contains(quote) {
                    return Some(value);
                }
            }
            if letter == '\\' && quote == '"' {
                match letters.peek() {
                    None => is_joined = true,
                    Some(&(_, next)) if "\"\\$`".contains(next) => {
                        value.push(next);
                        letters.next();
                    }
                    Some(_) => value.push('\\'),
                }
                continue;
            }
            value.push(letter);
        }
        if !is_joined {
            value.push('\n');
        }
        line = rest.next()?;
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::{Wrong, parse};

    #[test]
    fn quotes_go_on_over_lines_and_a_mark_of_byte_order_is_passed_over() {
        let text = "\u{feff}A=1\nexport B=\"two\nlines\"\n# no\n; no\n\nC='a \\ b\nc' # comment\n\
                    D=\"x \\\"y\\\" \\$HOME\"\nE = it's\nF=\"joined \\\nline\"\nG=\nH=\"\"\n";
        let expected = [
            ("A", "1"),
            ("B", "two\nlines"),
            ("C", "a \\ b\nc"),
            ("D", "x \"y\" $HOME"),
            ("E", "it's"),
            ("F", "joined line"),
            ("G", ""),
            ("H", ""),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_is_no_variable_is_named_by_its_line() {
        assert_eq!(parse(b"A=1\nno variable\n"), Err(Wrong::NotVariable(2)));
        assert_eq!(parse(b"A=1\n\n1B=2\n"), Err(Wrong::NotVariable(3)));
        assert_eq!(parse(b"A=1\nB=\"never\nclosed\n"), Err(Wrong::NotVariable(2)));
        assert_eq!(parse(b"A=1\nB=2\nC=M\xfcller\n"), Err(Wrong::NotUtf8(3)));
    }
}
