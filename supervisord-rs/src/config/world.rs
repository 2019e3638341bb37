//! What a file speaks of, looked at on this machine: programs, directories, files, users,
//! processors. What is missing here is a warning: it may be there where the file is used, or later.
//! And values that are valid, and most likely not what was meant.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::env_file::Wrong;
use super::nearest::nearest;
use super::problem::Problem;
use super::reader::{Cursor, Section};
use super::schema::Key;
use super::settings::{Launch, Program};
use super::{SOCKET, env_file};
use crate::accounts;
use workers::runtime::scheduling;

/// Longest name of a Unix socket, unix(7): 108 bytes with the zero at its end.
const SOCKET_NAME_MAX: usize = 107;

/// Nothing replaces variables in the file.
pub(super) fn warn_of_variable(cursor: &Cursor<'_>, help: &str) {
    let text = cursor.node.text();
    if text.is_some_and(is_in_home) {
        cursor.warn("`~` is not expanded", "write the whole path of the directory");
        return;
    }
    let Some(variable) = text.and_then(variable) else { return };
    if ["${instance}", "${name}"].contains(&variable) {
        let message = format!("`{variable}` stands for nothing without `instances:`");
        return cursor.warn(message, help);
    }
    let name = variable.trim_matches(['$', '{', '}']);
    let meant = nearest(name, ["instance", "name"]).map(|name| format!("${{{name}}}"));
    let message = match meant {
        Some(_) => format!("`{variable}` stays as it is: it stands for nothing"),
        None => format!("`{variable}` stays as it is: the file has no variables"),
    };
    let problem = cursor.at(()).problem(message);
    let problem = match &meant {
        Some(_) => problem.help("`${instance}` and `${name}` are all there are, with `instances:`"),
        None => problem.help(help),
    };
    cursor.problems.warn(Problem { nearest: meant, ..problem });
}

/// Whether a shell would put the home directory in.
fn is_in_home(text: &str) -> bool {
    text.starts_with("~/")
}

/// A command that is one text in a list: no program has such a name.
pub(super) fn warn_of_one_word(command: &Cursor<'_>, words: &[String]) {
    let Some(program) = words.first().filter(|program| is_line(program)) else { return };
    let place = command.first().unwrap_or_else(|| command.clone());
    place.warn(format!("`{program}` is one word, the name of a program"), &split(program));
}

/// Whether a word is a line of words, and no path.
fn is_line(program: &str) -> bool {
    program.trim().contains(' ') && !program.contains('/')
}

fn split(program: &str) -> String {
    let words: Vec<&str> = program.split_whitespace().collect();
    format!("split it into words: [{}]", words.join(", "))
}

/// `${NAME}` anywhere, or `$NAME` at the beginning.
fn variable(text: &str) -> Option<&str> {
    let begin = text.find("${").or_else(|| text.starts_with('$').then_some(0))?;
    let rest = &text[begin..];
    if rest.starts_with("${") {
        let name = &rest[2..rest.find('}')?];
        return is_name(name).then(|| &rest[..name.len() + 3]);
    }
    let end = rest[1..].find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let name = &rest[1..end.map_or(rest.len(), |end| end + 1)];
    is_name(name).then(|| &rest[..=name.len()])
}

fn is_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Whether the programs of a worker's commands can be executed, which stand at these keys.
pub(super) fn check_executables(
    worker: &Section<'_>,
    [command, start_before]: [&'static Key; 2],
    launch: &Launch,
) {
    if let Program::Command(words) = &launch.program {
        check_executable(worker, command, words, launch);
    }
    if let Some(words) = &launch.start_before {
        check_executable(worker, start_before, words, launch);
    }
}

fn check_executable(worker: &Section<'_>, key: &'static Key, words: &[String], launch: &Launch) {
    let Some(cursor) = worker.get(key).filter(|cursor| cursor.problems.sees_world()) else {
        return;
    };
    let Some(program) = words.first() else { return };
    // Of a list, the first word is the program.
    let place = cursor.first().unwrap_or(cursor);
    if program.contains('/') {
        if let Some((message, help)) = not_executable(Path::new(program)) {
            let help = if program.contains(' ') && words.len() == 1 {
                split(program)
            } else {
                help.to_owned()
            };
            place.warn(message, &help);
        }
        return;
    }
    let own = launch.execution.env.get("PATH").cloned();
    let path = own.or_else(|| std::env::var("PATH").ok()).unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(program));
    if !is_line(program) && !candidates.any(|candidate| not_executable(&candidate).is_none()) {
        let message = format!("no program `{program}` on this machine");
        place.warn(message, missing_program(program));
    }
}

/// What to do where a program is missing.
fn missing_program(name: &str) -> &'static str {
    const BUILTINS: [&str; 10] =
        ["cd", "source", ".", "export", "exec", "eval", "set", "trap", "ulimit", "umask"];
    if BUILTINS.contains(&name) {
        "it is a builtin of shells: add `shell: true`, or use a key such as `cwd:` or `env:`"
    } else {
        "install it, correct `PATH`, or write its whole path"
    }
}

fn not_executable(path: &Path) -> Option<(String, &'static str)> {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) => {
            Some((format!("`{shown}` {}", reason(&error)), "correct the path, or install it"))
        }
        Ok(found) if found.is_dir() => {
            Some((format!("`{shown}` is a directory"), "name a program"))
        }
        // For root the kernel wants one of the bits, access(2).
        Ok(found)
            if found.permissions().mode() & 0o111 == 0
                || access(path, AccessFlags::X_OK).is_err() =>
        {
            Some((format!("`{shown}` is not executable"), "make it executable with chmod +x"))
        }
        Ok(_) => None,
    }
}

/// Whether a directory is there.
pub(super) fn check_directory(cursor: &Cursor<'_>, path: &Path) {
    let shown = path.display();
    // Of a `~` there is a warning already.
    if !cursor.problems.sees_world() || cursor.node.text().is_some_and(is_in_home) {
        return;
    }
    match fs::metadata(path) {
        Err(error) => {
            cursor.warn(
                format!("`{shown}` {}", reason(&error)),
                "make the directory, or correct the path",
            );
        }
        Ok(found) if !found.is_dir() => {
            cursor.warn(format!("`{shown}` is not a directory"), "name a directory");
        }
        Ok(_) => {}
    }
}

/// Whether an `env_file` is there, and can be read.
pub(super) fn check_env_file(cursor: &Cursor<'_>, path: &Path) {
    let Some(content) = check_file(cursor, path) else { return };
    let shown = path.display();
    match env_file::parse(&content) {
        Ok(_) => {}
        Err(Wrong::NotVariable(line)) => cursor.warn(
            format!("`{shown}`: line {line} is not a NAME=value line"),
            "correct this line, or close its quotes",
        ),
        Err(Wrong::NotUtf8(line)) => cursor
            .warn(format!("`{shown}`: line {line} is not UTF-8"), "save the file as UTF-8 text"),
    }
}

/// Whether a file can be read; its content.
pub(super) fn check_file(cursor: &Cursor<'_>, path: &Path) -> Option<Vec<u8>> {
    if !cursor.problems.sees_world() {
        return None;
    }
    super::read_bytes(path)
        .map_err(|error| {
            let help = "make the file, correct the path, or run this as a user that may read it";
            cursor.warn(format!("`{}` {}", path.display(), reason(&error)), help);
        })
        .ok()
}

/// Whether a user is there.
pub(super) fn check_user(cursor: &Cursor<'_>, name: &str) {
    if cursor.problems.sees_world() && accounts::user(name).is_none() {
        cursor.warn(format!("no user `{name}` on this machine"), "add it, or name another user");
    }
}

/// Whether a group is there.
pub(super) fn check_group(cursor: &Cursor<'_>, name: &str) {
    if cursor.problems.sees_world() && accounts::group(name).is_none() {
        cursor.warn(format!("no group `{name}` on this machine"), "add it, or name another group");
    }
}

/// Whether there are such processors.
pub(super) fn check_processors(cursor: &Cursor<'_>, processors: &[usize]) {
    if !cursor.problems.sees_world() {
        return;
    }
    let Ok(online) = fs::read_to_string("/sys/devices/system/cpu/online") else { return };
    let is_there = |processor: &usize| {
        online.trim().split(',').any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else { return false };
            (first..=last).contains(processor)
        })
    };
    if let Some(missing) = processors.iter().find(|processor| !is_there(processor)) {
        let help = format!("this machine has {}", online.trim());
        cursor.warn(format!("no processor {missing} on this machine"), &help);
    }
}

/// Whether the kernel ends slices that are so short, of threads that compute.
pub(super) fn check_slice(cursor: &Cursor<'_>, slice: Duration) {
    let Some(tick) = scheduling::tick().filter(|_| cursor.problems.sees_world()) else { return };
    if slice < tick {
        let tick = humantime::format_duration(tick);
        let message = format!("this slice is shorter than the tick of this kernel, {tick}");
        let help = "a thread that computes runs to the next tick; the slice still decides how soon \
                    it has its turn";
        cursor.problems.warn_once(cursor.at(()).problem(message).help(help));
    }
}

/// Whether the kernel takes the name of a Unix socket.
pub(super) fn check_socket_name(cursor: &Cursor<'_>, path: &Path) {
    let length = path.as_os_str().len();
    if length > SOCKET_NAME_MAX {
        cursor.refuse(
            format!("the path of this socket has {length} bytes"),
            &format!("at most {SOCKET_NAME_MAX} bytes, as unix(7) has it"),
        );
    }
}

/// The same of the control socket in a runtime directory.
pub(super) fn check_runtime_dir(cursor: &Cursor<'_>, directory: &Path) {
    let socket: PathBuf = directory.join(SOCKET);
    let length = socket.as_os_str().len();
    if length > SOCKET_NAME_MAX {
        cursor.refuse(
            format!("the path of the control socket in it would have {length} bytes"),
            &format!("a directory with which it has at most {SOCKET_NAME_MAX} bytes"),
        );
    }
}

/// Why something cannot be used, as the end of a sentence about it.
fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "does not exist".into(),
        Some(number) => {
            format!("cannot be used: {}", nix::errno::Errno::from_raw(number).desc())
        }
        None => format!("cannot be used: {error}"),
    }
}
