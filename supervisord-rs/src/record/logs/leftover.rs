//! What a predecessor's thread had in its hands when it was killed, and how much of it is in the
//! file: it was appended to, and others may append to the same file, so it is looked for and not
//! reckoned from the file's length.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, SpliceFFlags, tee};
use nix::unistd::pipe2;

use super::file::LogFile;
use super::pipe::{read_all, waiting};
use super::staging_pipe::{CHUNK, PIPE, TEXT, drop_from, owner};
use crate::record::black_box::PastCarried;
use crate::record::black_box::{Begun, Carriers};
use crate::service_manager::{FdStore, InheritedDescriptors};

/// How much behind the place where a write began is searched for it: what others append between a
/// death and a start.
const SEARCHED_MAX: u64 = 16 * 1024 * 1024;
/// A death cuts a write where a page of the file ends.
const PAGE: u64 = 4096;
/// So many bytes are not the same by chance.
const LIKENESS: usize = 16;

/// What a predecessor's thread had in its hands.
#[derive(Debug)]
pub(super) struct Leftover {
    /// The bytes. Those of a write that has begun come first.
    pub(super) pipe: OwnedFd,
    pub(super) stream: u64,
    begun: Option<Begun>,
    /// The text that the write was for, where it was made of the bytes.
    text: Option<File>,
    /// Names in the store, from which it goes when it is written.
    names: Vec<String>,
}

impl Leftover {
    /// Completes the write that had begun: what is left in the pipe then was never written.
    ///
    /// # Errors
    /// The file cannot be opened, or does not take the rest. Bytes of the text that are lost.
    pub(super) fn complete(&mut self, file: &mut LogFile) -> Result<(), (u64, io::Error)> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        let left = waiting(&self.pipe);
        // Bytes go from the pipe when they are written, and not before.
        let gone = begun.held.saturating_sub(left);
        let mut result = Ok(());
        if gone == 0 {
            // Output that cannot be read back counts as not written.
            let there = file.since(begun.place, SEARCHED_MAX).unwrap_or_default();
            match self.text(begun) {
                Ok(text) => result = finish(&text, &there, begun, file),
                // Without the text only lengths tell; what may be missing is written once more.
                Err(_) if (there.len() as u64) < begun.length => return Ok(()),
                Err(_) => {}
            }
        }
        drop_from(
            &self.pipe,
            None,
            usize::try_from(begun.covered.saturating_sub(gone)).unwrap_or(0),
        );
        result
    }

    /// The bytes that the write was for. They stay where they are, for a successor after a death.
    fn text(&self, begun: Begun) -> io::Result<Vec<u8>> {
        let length = usize::try_from(begun.length).unwrap_or(0);
        let mut text = vec![0; length];
        if begun.is_text {
            let kept =
                self.text.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            kept.read_exact_at(&mut text, 0)?;
            return Ok(text);
        }
        let (glass, into) = pipe2(OFlag::O_CLOEXEC)?;
        let seen = tee(&self.pipe, &into, length.min(CHUNK), SpliceFFlags::SPLICE_F_NONBLOCK)?;
        text.truncate(seen);
        if read_all(&glass, &mut text) {
            Ok(text)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// It is written.
    pub(super) fn forget(&self, store: &FdStore) {
        self.names.iter().for_each(|name| store.forget(name));
    }

    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// Writes what is missing of a text.
fn finish(
    text: &[u8],
    there: &[u8],
    begun: Begun,
    file: &mut LogFile,
) -> Result<(), (u64, io::Error)> {
    let written = found(text, there, begun.place);
    file.write(&text[written..]).map_err(|unwritten| (unwritten.bytes as u64, unwritten.error))
}

/// How many bytes of a text, from its beginning, are among those that stand in a file from `place`
/// on: all of them wherever they stand; or as many as a death in the middle of the write has left.
/// One pass (Knuth, Morris, Pratt).
fn found(text: &[u8], there: &[u8], place: u64) -> usize {
    if text.is_empty() {
        return 0;
    }
    let longest = borders(text);
    let mut matched = 0;
    let mut cut = 0;
    for (index, byte) in there.iter().enumerate() {
        while matched > 0 && text[matched] != *byte {
            matched = longest[matched - 1];
        }
        matched += usize::from(text[matched] == *byte);
        if matched == text.len() {
            return matched;
        }
        let end = index + 1;
        let is_page = (place + end as u64).is_multiple_of(PAGE);
        let is_alone = matched == end && end == there.len();
        let is_last = is_page || end == there.len();
        if is_alone || (is_last && matched >= LIKENESS) {
            cut = cut.max(matched);
        }
    }
    cut
}

/// For each beginning of a text, the longest shorter one that it ends with.
fn borders(text: &[u8]) -> Vec<usize> {
    let mut longest = vec![0; text.len()];
    let mut matched = 0;
    for index in 1..text.len() {
        while matched > 0 && text[matched] != text[index] {
            matched = longest[matched - 1];
        }
        matched += usize::from(text[matched] == text[index]);
        longest[index] = matched;
    }
    longest
}

/// All of them, also those that the predecessor had from its own; empty pipes are let go. They are
/// passed on at once, so that they are not forgotten if we die before they are written.
pub(super) fn leftovers(
    inherited: &mut InheritedDescriptors,
    carried: &[PastCarried],
    carriers: &Carriers,
    store: &FdStore,
) -> Vec<Leftover> {
    let mut texts: HashMap<String, OwnedFd> = inherited.claim_all(TEXT).into_iter().collect();
    let mut found = Vec::new();
    for (rest, pipe) in inherited.claim_all(PIPE) {
        let name = format!("{PIPE}{rest}");
        let numbers = rest
            .split_once('/')
            .and_then(|(slot, pid)| Some(owner(pid.parse().ok()?, slot.parse().ok()?)));
        let past = carried.iter().find(|past| past.owner != 0 && Some(past.owner) == numbers);
        if waiting(&pipe) == 0 {
            store.forget(&name);
        } else if let Some(past) = past {
            carriers.pass_on(past);
            let text = texts.remove(&rest).map(File::from);
            let mut names = vec![name];
            names.extend(text.is_some().then(|| format!("{TEXT}{rest}")));
            found.push(Leftover { pipe, begun: past.begun, stream: past.stream, text, names });
        } else {
            tracing::warn!(name, "dropped output of an unknown worker");
            store.forget(&name);
        }
    }
    texts.keys().for_each(|rest| store.forget(&format!("{TEXT}{rest}")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_found_wherever_others_wrote_and_whatever_was_cut() {
        let text = b"the first line of it\nthe second line\n";
        assert_eq!(found(text, b"", 0), 0);
        assert_eq!(found(text, text, 7), text.len());
        let among = [b"of others\nthe first line".as_slice(), text, b"of others"].concat();
        assert_eq!(found(text, &among, 7), text.len(), "others wrote before and after it");
        assert_eq!(found(text, &text[..3], 7), 3, "no other program wrote");
        assert_eq!(found(text, b"of others the", 7), 0, "three bytes are the same by chance");
        let cut = [b"of others\n".as_slice(), &text[..20]].concat();
        assert_eq!(found(text, &cut, 7), 20, "others wrote before it");
        let page = [&text[..20], b"of others\n".as_slice()].concat();
        assert_eq!(
            found(text, &page, PAGE - 20),
            20,
            "it was cut where a page ends, and others wrote after it"
        );
        assert_eq!(found(text, &page, PAGE - 21), 0, "no write is cut there");
        assert_eq!(found(b"aab", b"aaab", 0), 3);
    }
}
