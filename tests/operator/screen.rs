//! A verb on a real terminal: what a person sees there, and the keys that they press.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

/// A terminal emulator: `top` draws only letters that change, so someone has to put them together.
pub(crate) struct Screen {
    master: OwnedFd,
    parser: vt100::Parser,
    child: Child,
    /// All that was written to the terminal.
    raw: Vec<u8>,
}

impl Screen {
    /// Starts a program with a terminal of its own.
    pub(crate) fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = crate::harness::terminal(Some(&size));
        let slave = File::from(terminal.slave);
        command.env("TERM", "xterm-256color");
        command
            .stdin(slave.try_clone().expect("a handle"))
            .stdout(slave.try_clone().expect("a handle"))
            .stderr(slave);
        // SAFETY: setsid and this ioctl are async-signal-safe; they make the terminal the child's
        // own.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("it runs");
        let [lines, width] = [rows, columns].map(|count| count.try_into().expect("not 0"));
        let parser = vt100::Parser::new(lines, width, 0);
        Self { master: terminal.master, parser, child, raw: Vec::new() }
    }

    /// Waits for words on the screen.
    #[track_caller]
    pub(crate) fn wait(&mut self, words: &str) {
        self.until(words, true);
    }

    #[track_caller]
    pub(crate) fn wait_gone(&mut self, words: &str) {
        self.until(words, false);
    }

    #[track_caller]
    fn until(&mut self, words: &str, is_there: bool) {
        let end = Instant::now() + crate::harness::DEADLINE;
        while self.parser.screen().contents().contains(words) != is_there {
            assert!(
                Instant::now() < end && self.read(),
                "waited for `{words}` (to be there: {is_there}) on:\n{}",
                self.parser.screen().contents()
            );
        }
    }

    /// Reads what is there, or waits a second for it. False: the program has ended, and all that it
    /// wrote was read.
    fn read(&mut self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if nix::poll::poll(&mut fds, 1000_u16).expect("a terminal") == 0 {
            return true;
        }
        let mut file = File::from(self.master.try_clone().expect("a handle"));
        let mut buffer = [0; 65536];
        // EIO: the last one has closed the other side.
        let Ok(count) = file.read(&mut buffer) else { return false };
        self.parser.process(&buffer[..count]);
        self.raw.extend_from_slice(&buffer[..count]);
        true
    }

    pub(crate) fn press(&mut self, keys: &str) {
        File::from(self.master.try_clone().expect("a handle"))
            .write_all(keys.as_bytes())
            .expect("a terminal");
    }

    /// The colour of a word in the first line that has it and begins with `line`.
    #[track_caller]
    pub(crate) fn colour(&self, line: &str, word: &str) -> vt100::Color {
        let screen = self.parser.screen();
        let (_, columns) = screen.size();
        let mut rows = screen.rows(0, columns.get()).zip(0..);
        let found = rows.find_map(|(text, row)| {
            let at = text.find(word).filter(|_| text.trim_start().starts_with(line))?;
            screen.cell(row, u16::try_from(text[..at].chars().count()).ok()?)
        });
        found
            .unwrap_or_else(|| panic!("no `{word}` of {line} on:\n{}", screen.contents()))
            .fgcolor()
    }

    /// Waits for the end of the program: how it ended, and all that it wrote to the terminal.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let end = Instant::now() + crate::harness::DEADLINE;
        while self.read() {
            assert!(Instant::now() < end, "no end of:\n{}", self.parser.screen().contents());
        }
        let status = self.child.wait().expect("a child of this test");
        (status, crate::harness::text(&self.raw))
    }
}
