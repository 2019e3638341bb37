//! What the process table says of one process, proc_pid_stat(5). Numbers come and go: a number with its time of birth
//! means one process for ever.

use std::fs;

/// What stands there.
#[derive(Clone, Debug)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) state: char,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// In clock ticks since boot.
    pub(super) start_time: u64,
    /// The wait status of one that has exited and not been waited for, where we may know it (proc(5): ptrace access).
    pub(super) exit_status: Option<i32>,
}

/// Field of the parent after the name: state is the first.
const PARENT: usize = 1;
const GROUP: usize = 2;
const SESSION: usize = 3;
const START_TIME: usize = 19;
const EXIT_CODE: usize = 49;

/// Of this process; `None`: there is none.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, brackets too.
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    Some(Stat {
        name,
        state,
        parent: fields.get(PARENT)?.parse().ok()?,
        group: fields.get(GROUP)?.parse().ok()?,
        session: fields.get(SESSION)?.parse().ok()?,
        start_time: fields.get(START_TIME)?.parse().ok()?,
        exit_status: fields.get(EXIT_CODE).and_then(|code| code.parse().ok()).filter(|_| state == 'Z'),
    })
}

/// When a process was born.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// Everyone's number.
pub(super) fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).collect()
}

/// The value of a variable in the environment that a process was started with, as far as it has not overwritten it.
pub(super) fn variable(pid: i32, name: &str) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let is_it = |variable: &&[u8]| {
        variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
    };
    let found = environment.split(|&byte| byte == 0).find(is_it)?;
    Some(found[name.len() + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_table_tells_of_ourselves() {
        let own = i32::try_from(std::process::id()).unwrap();
        let stat = stat(own).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw());
        assert_eq!(stat.session, nix::unistd::getsid(None).unwrap().as_raw());
        assert!(stat.start_time > 0 && stat.exit_status.is_none());
        assert!(all().contains(&own));
        assert_eq!(variable(own, "PATH"), std::env::var("PATH").ok().map(String::into_bytes));
    }
}
