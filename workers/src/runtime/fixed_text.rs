//! Text of bounded length: what a board has room for, also where it is put together in a signal
//! handler, without an allocation.

use std::borrow::Cow;

use crate::runtime::board::TEXT_MAX;

/// What stands for the rest of a text that is cut.
const REST: &str = " ...";

/// As much of a text as a board has room for; one that is cut says so.
pub(crate) fn fitting(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_MAX {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(TEXT_MAX - REST.len());
    Cow::Owned(format!("{}{REST}", &text[..end]))
}

pub(crate) struct FixedText {
    bytes: [u8; TEXT_MAX],
    length: usize,
}

impl Default for FixedText {
    fn default() -> Self {
        Self { bytes: [0; TEXT_MAX], length: 0 }
    }
}

impl FixedText {
    pub(crate) fn add(&mut self, more: &[u8]) {
        let free = &mut self.bytes[self.length..];
        let length = more.len().min(free.len());
        free[..length].copy_from_slice(&more[..length]);
        self.length += length;
    }

    /// With a separator, if there is something before it.
    pub(crate) fn add_after(&mut self, separator: &[u8], more: &[u8]) {
        if self.length > 0 {
            self.add(separator);
        }
        self.add(more);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_cut_says_so_and_stays_text() {
        assert_eq!(fitting("short"), "short");
        let long = "é".repeat(TEXT_MAX);
        let cut = fitting(&long);
        assert!(cut.len() <= TEXT_MAX && cut.ends_with("é ..."), "{cut}");
    }
}
