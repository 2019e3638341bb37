//! Text from workers, made safe for a terminal. A terminal obeys control sequences, and a worker
//! that writes to a log must not control a person's keyboard buffer, window title or clipboard.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal would do more than show it: control characters of both sets, DEL, and
/// characters that reverse the direction of writing, which disguise a line.
fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}')
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text with control characters escaped, as `\x1b`. Tabs and ends of lines stay.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|letter| is_harmful(letter) && !matches!(letter, '\t' | '\n')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\t' | '\n' => shown.push(letter),
            // Some programs end lines with both.
            '\r' if letters.peek() == Some(&'\n') => {}
            _ if !is_harmful(letter) => shown.push(letter),
            _ if letter.is_ascii() => {
                let _ = write!(shown, "\\x{:02x}", u32::from(letter));
            }
            _ => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(letter));
            }
        }
    }
    shown.into()
}

/// The same for bytes: those that are not UTF-8 are escaped too, since some of them control some
/// terminals.
pub(super) fn harmless_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&harmless(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown.into_bytes()
}

/// A JSON text with the same characters escaped in JSON's own way: its meaning stays.
pub(super) fn harmless_json(json: &str) -> Cow<'_, str> {
    // JSON has escaped characters below the space already; only line ends between values are left.
    let is_left = |letter: char| is_harmful(letter) && letter != '\n';
    if !json.chars().any(is_left) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if is_left(letter) {
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out_and_the_rest_stays() {
        assert_eq!(harmless("plain\tгод 😀\n"), "plain\tгод 😀\n");
        assert_eq!(
            harmless("\x1b]0;title\x07 \x7f \u{9b}2J"),
            "\\x1b]0;title\\x07 \\x7f \\u{9b}2J"
        );
        assert_eq!(harmless("50 %\r100 %\r\n"), "50 %\\x0d100 %\n");
        assert_eq!(harmless("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(harmless_bytes(b"a\x9b2J\xffb"), b"a\\x9b2J\\xffb");
    }

    #[test]
    fn json_means_what_it_meant() {
        let value = serde_json::json!({ "a\u{9b}": "\x1b[2J\x7f\u{202e}" });
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let shown = harmless_json(&text);
        assert!(!shown.chars().any(|letter| is_harmful(letter) && letter != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
    }
}
