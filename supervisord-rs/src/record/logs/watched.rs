//! A line that is waited for in the output of a worker: `ready: { log: ... }`.

use super::staging_pipe::CHUNK;

/// A pattern that is waited for.
#[derive(Debug)]
pub(super) struct Watched {
    pattern: regex::bytes::Regex,
    token: u64,
    /// Lines that begin before this many bytes were taken do not count.
    from: u64,
    partial: Vec<u8>,
}

impl Watched {
    pub(super) fn new(pattern: regex::bytes::Regex, token: u64, from: u64) -> Self {
        Self { pattern, token, from, partial: Vec::new() }
    }

    /// Looks at whole lines in what was taken; `start`: how much was taken before. The token, when
    /// one matches.
    pub(super) fn look(&mut self, bytes: &[u8], start: u64) -> Option<u64> {
        let old =
            usize::try_from(self.from.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
        self.partial.extend_from_slice(&bytes[old..]);
        let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else {
            // A line without end is not searched again and again.
            let excess = self.partial.len().saturating_sub(CHUNK);
            self.partial.drain(..excess);
            return None;
        };
        let mut lines = self.partial[..end].split(|&byte| byte == b'\n');
        if lines.any(|line| self.pattern.is_match(line)) {
            return Some(self.token);
        }
        self.partial.drain(..=end);
        None
    }
}
