//! `top` and the figures of `status`: on a real terminal, with real keys.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use crate::harness::{Bed, find, text};

#[test]
fn status_shows_what_workers_use_and_json_has_all_of_it() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  busy: { command: [sh, -c, 'sleep 1d & while :; do :; done'], ready: { after: 0s } }\n  \
                th: { worker: ticker, isolation: thread }\n  sleeping: { command: [sleep, 1d], ready: { after: 0s } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let report = supervisor.wait("figures", |supervisor| {
        let report = supervisor.client.status_with_usage().ok()?;
        let busy = find(&report, "busy").usage?;
        (busy.cpu_us > 50_000 && busy.processes == 2).then_some(report)
    });
    let busy = find(&report, "busy").usage.expect("figures");
    assert!(busy.pss_kib.is_some_and(|pss| pss > 50) && busy.rss_kib >= busy.pss_kib, "{busy:?}");
    assert!(busy.threads == 2 && busy.fds.is_some_and(|fds| fds >= 6), "{busy:?}");
    let sleeping = find(&report, "sleeping").usage.expect("figures");
    assert!(sleeping.cpu_us < busy.cpu_us && sleeping.voluntary_switches > 0, "{sleeping:?}");
    let thread = find(&report, "th").usage.expect("figures");
    assert_eq!((thread.threads, thread.pss_kib), (1, None), "memory is the process's: {thread:?}");
    assert!(report.supervisor.usage.is_some_and(|usage| usage.pss_kib.is_some()));
    let shown = text(&bed.verb(&["status"]).stdout);
    assert!(
        ["CPU", "MEMORY", "THREADS", "FDS", "SWITCHES"].iter().all(|word| shown.contains(word)),
        "{shown}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&bed.verb(&["status", "--json"]).stdout).expect("JSON");
    assert!(json["workers"][0]["usage"]["voluntary_switches"].is_u64(), "{json}");
    supervisor.stop();
}

#[test]
fn top_shows_workers_by_domain_and_its_keys_act() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  proc: { command: [sh, -c, 'echo the-last-line; exec sleep 1d'], ready: { after: 0s } }\n  \
                th: { worker: ticker, isolation: thread }\n  c1: { worker: ticker, isolation: thread, cell: batch }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_running();
    let size = nix::pty::Winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = crate::harness::terminal(Some(&size));
    let slave = File::from(terminal.slave);
    let mut command = bed.command(&["top", "--interval", "0.1"]);
    command.env("TERM", "xterm-256color");
    command
        .stdin(slave.try_clone().expect("a handle"))
        .stdout(slave.try_clone().expect("a handle"))
        .stderr(slave);
    // SAFETY: setsid and this ioctl are async-signal-safe; they make the terminal the child's own.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    let mut top = command.spawn().expect("it runs");
    drop(command);
    let [rows, columns] = [size.ws_row, size.ws_col].map(|count| count.try_into().expect("not 0"));
    let parser = vt100::Parser::new(rows, columns, 0);
    let mut screen = Screen { master: terminal.master, parser };
    for words in ["DOMAIN", "supervisor", "batch", "th", "c1", "proc", "quit"] {
        screen.wait(words);
    }
    // The supervisor's own threads come first, then cells, then processes: the third is `proc`.
    screen.press("jj");
    screen.press("x");
    supervisor.wait_phase("proc", "idle");
    screen.press("s");
    supervisor.wait_phase("proc", "running");
    let generation = supervisor.worker("proc").generation;
    screen.press("r");
    supervisor.wait_generation("proc", generation + 1);
    supervisor.wait_phase("proc", "running");
    screen.press("p");
    supervisor.wait("suspended", |supervisor| supervisor.worker("proc").paused.then_some(()));
    screen.wait("suspended");
    screen.press("p");
    supervisor.wait("resumed", |supervisor| (!supervisor.worker("proc").paused).then_some(()));
    screen.press("l");
    screen.wait("the-last-line");
    // Esc closes the pane, not the whole.
    screen.press("\x1b");
    screen.wait_gone("the-last-line");
    screen.press("q");
    assert!(top.wait().expect("our child").success());
    let refused = bed.verb(&["top"]);
    assert_eq!(refused.status.code(), Some(2), "without a terminal");
    supervisor.stop();
}

struct Screen {
    master: OwnedFd,
    parser: vt100::Parser,
}

impl Screen {
    /// Waits for words on the screen. `top` draws only letters that change, so a terminal emulator
    /// has to put them together.
    #[track_caller]
    fn wait(&mut self, words: &str) {
        self.until(words, true);
    }

    #[track_caller]
    fn wait_gone(&mut self, words: &str) {
        self.until(words, false);
    }

    #[track_caller]
    fn until(&mut self, words: &str, is_there: bool) {
        let end = Instant::now() + crate::harness::DEADLINE;
        let mut file = File::from(self.master.try_clone().expect("a handle"));
        let mut buffer = [0; 65536];
        while self.parser.screen().contents().contains(words) != is_there {
            assert!(
                Instant::now() < end,
                "waited for `{words}` (to be there: {is_there}) on:\n{}",
                self.parser.screen().contents()
            );
            let mut fds = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(&self.master),
                nix::poll::PollFlags::POLLIN,
            )];
            if nix::poll::poll(&mut fds, 1000_u16).expect("a terminal") > 0 {
                let count = file.read(&mut buffer).expect("a terminal");
                self.parser.process(&buffer[..count]);
            }
        }
    }

    fn press(&mut self, keys: &str) {
        File::from(self.master.try_clone().expect("a handle"))
            .write_all(keys.as_bytes())
            .expect("a terminal");
    }
}
