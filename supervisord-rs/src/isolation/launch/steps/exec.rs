//! The program itself: tried in each directory of a `PATH`, with its arguments and its environment.
#![expect(unsafe_code, reason = "bare system calls between clone and exec")]

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use supervision::LaunchFailure;

use super::{About, Newborn, Step, Words};
use crate::isolation::launch::environment::Environment;
use crate::isolation::launch::{c_string, failure};
use crate::stages;

const ABOUT: [About; 1] = [About { stage: stages::EXEC, words }];

/// `LISTEN_PID=` with room for ten digits, which hold every number of a process, and a NUL.
const LISTEN_PID: [u8; 22] = *b"LISTEN_PID=0\0\0\0\0\0\0\0\0\0\0";

/// As execve(2) takes them.
pub(in crate::isolation::launch) struct Exec<'a> {
    candidates: &'a [CString],
    argv: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// The child writes its own number into it.
    listen_pid: Option<Box<[Cell<u8>; LISTEN_PID.len()]>>,
}

impl<'a> Exec<'a> {
    /// `has_listen_pid`: with `LISTEN_PID` in its environment, as sd_listen_fds(3) wants it.
    pub(in crate::isolation::launch) fn new(
        candidates: &'a [CString],
        argv: &'a [CString],
        environment: &'a Environment,
        has_listen_pid: bool,
    ) -> Self {
        let listen_pid = has_listen_pid.then(|| Box::new(LISTEN_PID.map(Cell::new)));
        let first = listen_pid.as_ref().map(|text| text.as_ptr().cast());
        // One of these counts, and that is ours.
        let is_other =
            |word: &&CString| !has_listen_pid || !word.to_bytes().starts_with(b"LISTEN_PID=");
        let others = environment.words().filter(is_other).map(|word| word.as_ptr());
        let environment = first.into_iter().chain(others);
        Self {
            candidates,
            argv: argv.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect(),
            environment: environment.chain([ptr::null()]).collect(),
            listen_pid,
        }
    }
}

impl std::fmt::Debug for Exec<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut written = formatter.debug_struct("Exec");
        written.field("candidates", &self.candidates).finish_non_exhaustive()
    }
}

/// The paths at which a program may be: it is looked up in `path`, a `PATH`, unless it has a slash.
///
/// # Errors
/// EINVAL when a path has a NUL byte in it.
pub(in crate::isolation::launch) fn candidates(
    program: &OsStr,
    path: &OsStr,
) -> Result<Vec<CString>, LaunchFailure> {
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    std::env::split_paths(path)
        .map(|directory| c_string(directory.join(program).as_os_str()))
        .collect()
}

impl Step for Exec<'_> {
    /// Tries each candidate as execvp(3) does: a missing one is passed over, one without permission
    /// is remembered. Unlike there, a directory of `PATH` that may not be searched is passed over
    /// too: it does not make a program that is missing everywhere one that is there.
    fn execute(&self, _: &Newborn<'_>) -> Result<(), LaunchFailure> {
        if let Some(text) = &self.listen_pid {
            // SAFETY: getpid has no effects.
            let pid = unsafe { libc::getpid() };
            write_decimal(&text[b"LISTEN_PID=".len()..], pid.unsigned_abs());
        }
        let mut worst = Errno::ENOENT;
        for candidate in self.candidates {
            // SAFETY: execve is listed in signal-safety(7); argv and environment are arrays of C
            // strings that end with a null pointer, and what they point to outlives us.
            unsafe {
                libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.environment.as_ptr())
            };
            match Errno::last() {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES if self.candidates.len() == 1 || is_there(candidate) => {
                    worst = Errno::EACCES;
                }
                Errno::EACCES => {}
                other => return Err(failure(stages::EXEC, other)),
            }
        }
        Err(failure(stages::EXEC, worst))
    }

    fn about() -> &'static [About] {
        &ABOUT
    }
}

/// Writes a number in decimal digits, and a NUL.
fn write_decimal(place: &[Cell<u8>], mut number: u32) {
    let mut digits = [0_u8; 10];
    let mut count = 0;
    while number > 0 && count < digits.len() {
        digits[count] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        count += 1;
    }
    for (cell, digit) in place.iter().zip(digits[..count].iter().rev().chain([&0])) {
        cell.set(*digit);
    }
}

fn is_there(path: &CStr) -> bool {
    // SAFETY: access(2) is async-signal-safe and reads a string that ends with a null character.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

fn words(errno: Errno, subject: &str) -> Words {
    let remedy = match errno {
        Errno::ENOENT if Path::new(subject).exists() => {
            ": it is there; the interpreter (`#!`) or the loader that it names is not"
        }
        Errno::ENOENT if subject.contains('/') => ": correct its path",
        Errno::ENOENT => ": install it, or write its full path in `command:`",
        Errno::EACCES => ": it is not executable for this user; check its mode and its directory's",
        Errno::E2BIG => {
            ": its arguments and its environment are too large: the kernel allows 128 KiB for each \
             of them, and a quarter of its limit of the stack for all (execve(2))"
        }
        // Those of its user are counted as it executes (execve(2)).
        Errno::EAGAIN => {
            ": its user has more processes than its limit allows: raise `limits: { processes: }`, \
             or what the supervisor has (`ulimit -u`, `LimitNPROC=`)"
        }
        Errno::ENOMEM => ": memory is short, or its `limits:` leave too little",
        Errno::EINVAL => ": an argument or a variable of its environment has a NUL byte in it",
        Errno::ENOEXEC => ": it is neither a binary of this machine nor a script with `#!`",
        _ => "",
    };
    Words::Step(format!("cannot execute {subject}").into(), remedy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_environment_wants_them() {
        for number in [1, 10, 4_194_304, u32::MAX] {
            let text = LISTEN_PID.map(Cell::new);
            write_decimal(&text[b"LISTEN_PID=".len()..], number);
            let written: Vec<u8> =
                text.iter().map(Cell::get).take_while(|byte| *byte != 0).collect();
            assert_eq!(String::from_utf8(written), Ok(format!("LISTEN_PID={number}")));
        }
    }
}
