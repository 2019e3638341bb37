//! The shell of a page.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use super::page::Command;
use crate::harness::{Bed, DEADLINE, repository, until};

/// Ends the output of a command; no command prints this character.
const MARK: char = '\u{1}';

/// What a supervisor of root uses by default, and what it uses here.
const DIRECTORIES: [(&str, &str); 3] = [
    ("/run/supervisord-rs", "run"),
    ("/var/lib/supervisord-rs", "state"),
    ("/var/log/supervisord-rs", "logs"),
];

pub(super) struct Session<'a> {
    bed: &'a Bed,
    shell: Child,
    /// How much of the output earlier commands have printed.
    read: usize,
}

impl<'a> Session<'a> {
    pub(super) fn start(bed: &'a Bed) -> Self {
        let work = bed.path("work");
        fs::create_dir_all(&work).expect("a directory");
        for name in ["config", "workers"] {
            let target = fs::canonicalize(repository(name)).expect(name);
            std::os::unix::fs::symlink(target, work.join(name)).expect("a link");
        }
        let output = File::create(bed.path("output")).expect("a file");
        let program = bed.command(&[]);
        let directory = Path::new(program.get_program()).parent().expect("a directory above");
        let path = std::env::var("PATH").expect("a PATH");
        // All that a supervisor of the page starts bears the name of the bed in its environment.
        let shell = std::process::Command::new("bash")
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env_remove("SUPERVISORD_RS_SOCKET")
            .env("PATH", format!("{}:{path}", directory.display()))
            .env("HOME", bed.path("work"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("COLUMNS", "100")
            .current_dir(&work)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("bash starts");
        let mut session = Self { bed, shell, read: 0 };
        session.tell("cargo() { shift 3; supervisord-rs \"$@\"; }");
        session
    }

    /// A file of the session's directory; a script can be executed.
    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.bed.write(&format!("work/{name}"), text);
        if text.starts_with("#!") {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(path, mode).expect("a file of the test");
        }
    }

    /// What the command prints.
    pub(super) fn run(&mut self, command: &Command) -> String {
        let mut text = command.text.clone();
        for (usual, here) in DIRECTORIES {
            text = text.replace(usual, &self.bed.path(here).display().to_string());
        }
        // A command does not read the commands after it, and sees the exit status of the one
        // before.
        self.tell(&format!("{{ {text}\n}} < /dev/null"));
        self.tell(&format!("_s=$?; printf '{MARK}'; (exit $_s)"));
        let mut output = until(DEADLINE, || {
            let all = self.output();
            let (output, _) = all.get(self.read..)?.split_once(MARK)?;
            Some(output.to_owned())
        })
        .unwrap_or_else(|| panic!("`{text}` does not end; output:\n{}", self.output()));
        self.read += output.len() + MARK.len_utf8();
        for (usual, here) in DIRECTORIES {
            output = output.replace(&self.bed.path(here).display().to_string(), usual);
        }
        let work = self.bed.path("work").display().to_string();
        output.replace(&work, "~")
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.bed.path("output")).unwrap_or_default()).into()
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.shell.stdin.as_mut().expect("it is open until the end");
        writeln!(stdin, "{line}").expect("bash reads");
    }

    /// Ends the shell; the page itself must have ended all that it started.
    pub(super) fn end(mut self) {
        drop(self.shell.stdin.take());
        let ended = until(DEADLINE, || self.shell.try_wait().expect("a child of this test"));
        assert!(ended.is_some(), "the shell does not end; output:\n{}", self.output());
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let left = || (!self.bed.processes().is_empty()).then(|| self.bed.processes());
        let limit = if std::thread::panicking() { std::time::Duration::ZERO } else { DEADLINE };
        if until(limit, || left().is_none().then_some(())).is_some() {
            return;
        }
        let left = left().unwrap_or_default();
        for &pid in &left {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.shell.wait();
        assert!(std::thread::panicking(), "the page leaves processes behind: {left:?}");
    }
}
