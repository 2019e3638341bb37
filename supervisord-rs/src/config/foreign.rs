//! Keys of other supervisors, and what they are called here.

use super::nearest::{nearest, plain};
use super::size::{size, size_meant};

/// A job for a time of day.
const BY_CRON: &str =
    "`autostart: false`, and have cron or a timer run `supervisord-rs start NAME`";

/// Key elsewhere, whose it is, what to write here. Compared without case, `_` and `-`, unless it is
/// written with them here. `key=value` is for that value alone. `<DURATION>` and the like stand for
/// the value that the key has.
const WORKER: &[(&str, &str, &str)] = &[
    // supervisord
    ("autorestart", "supervisord", "`restart: always`, `on-failure` or `never`"),
    ("directory", "supervisord", "`cwd:`"),
    ("environment", "supervisord and Compose", "`env:`"),
    ("exitcodes", "supervisord", "`restart: { success: [<CODES>] }`"),
    ("killasgroup", "supervisord", "nothing: all processes of a worker are killed"),
    ("numprocs", "supervisord", "`instances:`"),
    ("priority", "supervisord", "`depends_on:`, which orders the start"),
    ("processname", "supervisord", "the key under `workers:`, which is the worker's name"),
    ("redirectstderr", "supervisord", "nothing: stderr goes where stdout goes, by default"),
    ("startretries", "supervisord", "`restart: { limit: { restarts: <COUNT> } }`"),
    ("startsecs", "supervisord", "`ready: { after: <DURATION> }`"),
    ("stderrlogfile", "supervisord", "`logs: { stderr: FILE }`"),
    ("stdoutlogfile", "supervisord", "`logs: { stdout: FILE }`"),
    ("stdoutlogfilebackups", "supervisord", "`logs: { rotate: { keep: <COUNT> } }`"),
    ("stdoutlogfilemaxbytes", "supervisord", "`logs: { rotate: { size: <SIZE> } }`"),
    ("stderrlogfilebackups", "supervisord", "`logs: { rotate: { keep: <COUNT> } }`"),
    ("stderrlogfilemaxbytes", "supervisord", "`logs: { rotate: { size: <SIZE> } }`"),
    ("stopasgroup", "supervisord", "nothing: all processes of a worker are stopped"),
    ("stopsignal", "supervisord", "`stop: { signal: <SIGNAL> }`"),
    ("stopwaitsecs", "supervisord", "`stop: { timeout: <DURATION> }`"),
    // systemd
    ("after", "systemd", "`depends_on: { <NAME>: { is: ready, soft: true } }`"),
    ("cpuaffinity", "systemd", "`cpus: [LIST]`"),
    ("cpuquota", "systemd", "`limits: { cpu: <PERCENT> }`"),
    ("cpuschedulingpolicy=rr", "systemd", "`scheduler: { policy: round-robin, priority: 1 }`"),
    ("cpuschedulingpolicy=other", "systemd", "`scheduler: normal`"),
    ("cpuschedulingpolicy", "systemd", "`scheduler: { policy: <NAME> }`"),
    ("cpuschedulingpriority", "systemd", "`scheduler: { policy: fifo, priority: <COUNT> }`"),
    ("cpuweight", "systemd", "`limits: { cpu_weight: <COUNT> }`"),
    ("environmentfile", "systemd", "`env_file:`"),
    ("execreload", "systemd", "`reload_signal: SIGNAL`"),
    ("execstart", "systemd", "`command: [PROGRAM, ARGUMENT]`"),
    ("execstartpre", "systemd", "`start_before: [PROGRAM, ARGUMENT]`"),
    ("execstop", "systemd", "`stop: { command: [PROGRAM, ARGUMENT] }`"),
    ("execstartpost", "systemd", "`hooks: [{ on: running, command: [PROGRAM] }]`"),
    ("execstoppost", "systemd", "`hooks: [{ on: stopped, command: [PROGRAM] }]`"),
    ("killmode", "systemd", "`stop: { scope: tree }` or `main`"),
    ("killsignal", "systemd", "`stop: { signal: <SIGNAL> }`"),
    ("limitcore", "systemd", "`limits: { core: <SIZE> }`"),
    ("limitnofile", "systemd", "`limits: { open_files: <COUNT> }`"),
    ("limitnproc", "systemd", "`limits: { processes: <COUNT> }`"),
    ("loadcredential", "systemd", "`secrets: { NAME: FILE }`"),
    ("memoryhigh", "systemd", "`limits: { memory_high: <SIZE> }`"),
    ("memorymax", "systemd", "`limits: { memory: <SIZE> }`"),
    ("oomscoreadjust", "systemd", "`oom_score_adj:`"),
    ("requires", "systemd", "`depends_on:`"),
    ("restartpreventexitstatus", "systemd", "`restart: { never_on: [<CODES>] }`"),
    ("restartsec", "systemd", "`restart: { backoff: { initial: <DURATION> } }`"),
    ("standarderror", "systemd", "`logs: { stderr: FILE }`"),
    ("standardoutput", "systemd", "`logs: { stdout: FILE }`"),
    ("startlimitburst", "systemd", "`restart: { limit: { restarts: <COUNT> } }`"),
    ("startlimitintervalsec", "systemd", "`restart: { limit: { within: <DURATION> } }`"),
    ("successexitstatus", "systemd", "`restart: { success: [<CODES>] }`"),
    ("supplementarygroups", "systemd", "`groups:`"),
    ("tasksmax", "systemd", "`limits: { pids: <COUNT> }`"),
    ("oncalendar", "systemd", BY_CRON),
    ("timeoutstartsec", "systemd", "`ready: { timeout: <DURATION> }`"),
    ("timeoutstopsec", "systemd", "`stop: { timeout: <DURATION> }`"),
    ("type=oneshot", "systemd", "`restart: never`"),
    ("type=notify", "systemd", "`ready: notify`"),
    ("type=simple", "systemd", "nothing: a command is simple"),
    ("type=exec", "systemd", "nothing: a command is simple"),
    ("type", "systemd", "`command:` for a program that stays in the foreground"),
    ("wants", "systemd", "`depends_on: { <NAME>: { is: ready, soft: true } }`"),
    ("watchdogsec", "systemd", "`heartbeat: <DURATION>`"),
    ("workingdirectory", "systemd", "`cwd:`"),
    // Compose, Kubernetes, PM2, Procfiles
    ("build", "Compose", "`command:`; supervisord-rs runs programs, not images"),
    ("containername", "Compose", "the key under `workers:`, which is the worker's name"),
    ("cpuset", "Compose", "`cpus: [LIST]`"),
    ("deploy", "Compose", "`instances:` and `limits:`"),
    ("entrypoint", "Compose", "`command:`"),
    ("healthcheck", "Compose", "`health: { exec: [PROGRAM] }`"),
    ("image", "Compose", "`command:`; supervisord-rs runs programs, not images"),
    ("logging", "Compose", "`logs:`"),
    ("memlimit", "Compose", "`limits: { memory: <SIZE> }`"),
    ("pidslimit", "Compose", "`limits: { pids: <COUNT> }`"),
    ("ports", "Compose", "`sockets:`, or nothing: the worker may listen by itself"),
    ("scale", "Compose", "`instances:`"),
    ("stopgraceperiod", "Compose", "`stop: { timeout: <DURATION> }`"),
    ("stop_signal", "Compose", "`stop: { signal: <SIGNAL> }`"),
    ("ulimits", "Compose", "`limits:`"),
    ("workingdir", "Compose", "`cwd:`"),
    ("livenessprobe", "Kubernetes", "`health: { liveness: ... }`"),
    ("readinessprobe", "Kubernetes", "`health: { readiness: ... }`"),
    ("replicas", "Kubernetes", "`instances:`"),
    ("startupprobe", "Kubernetes", "`health: { startup: ... }`"),
    ("terminationgraceperiodseconds", "Kubernetes", "`stop: { timeout: <DURATION> }`"),
    ("cronrestart", "PM2", "nothing: start it from cron with `supervisord-rs restart NAME`"),
    ("errorfile", "PM2", "`logs: { stderr: FILE }`"),
    ("execmode", "PM2", "`instances:` and `sockets:`, which instances share"),
    ("expbackoffrestartdelay", "PM2", "`restart: { backoff: { initial: <MILLISECONDS> } }`"),
    ("interpreter", "PM2", "it as the first word of `command:`"),
    ("killtimeout", "PM2", "`stop: { timeout: <MILLISECONDS> }`"),
    ("maxmemoryrestart", "PM2", "`limits: { memory: <SIZE> }`"),
    ("maxrestarts", "PM2", "`restart: { limit: { restarts: <COUNT> } }`"),
    ("mergelogs", "PM2", "nothing: name one file in `logs: { stdout: FILE }` of each"),
    ("minuptime", "PM2", "`ready: { after: <MILLISECONDS> }`"),
    ("outfile", "PM2", "`logs: { stdout: FILE }`"),
    ("waitready", "PM2", "`ready: notify`, or another way to be ready"),
    ("script", "PM2", "`command:`"),
    (
        "stack",
        "limits.conf",
        "`stack_size: <SIZE>` for a `worker:`, `limits: { stack: <SIZE> }` for a command",
    ),
    ("cron", "other programs", BY_CRON),
    ("schedule", "other programs", BY_CRON),
    ("timeout", "other programs", "`stop: { timeout: DURATION }`, or the same in `ready:`"),
    ("cmd", "other programs", "`command:`"),
    ("exec", "other programs", "`command:`"),
    ("program", "other programs", "`command:`"),
    ("run", "other programs", "`command:`"),
];

/// The same at the top of the file.
const TOP: &[(&str, &str, &str)] = &[
    (
        "scenario",
        "scenarios",
        "nothing: `supervisord-rs drill list FILE` checks a scenario, `drill run FILE` runs it",
    ),
    ("eventlisteners", "supervisord", "`hooks:`"),
    ("jobs", "other programs", "`workers:`"),
    ("processes", "other programs", "`workers:`"),
    ("programs", "supervisord", "`workers:`"),
    ("services", "Compose", "`workers:`"),
    ("supervisord", "supervisord", "`supervisor:`"),
    ("unixhttpserver", "supervisord", "`supervisor: { control: { mode: \"0660\" } }`"),
];

/// The same in `limits:`: the names of limits.conf(5), ulimit(1) and setrlimit(2).
const LIMITS: &[(&str, &str, &str)] = &[
    ("as", "limits.conf", "`address_space:`"),
    ("cpus", "Compose", "`cpu: 150%`"),
    ("fsize", "limits.conf", "`file_size:`"),
    ("locks", "limits.conf", "nothing: Linux has no such limit"),
    ("mem", "other programs", "`memory: <SIZE>`"),
    ("memlock", "limits.conf", "`locked_memory:`"),
    ("msgqueue", "limits.conf", "`message_queues:`"),
    ("nofile", "limits.conf", "`open_files:`"),
    ("nproc", "limits.conf", "`processes:`, or `pids:` for the worker alone"),
    ("rss", "limits.conf", "`memory:`"),
    ("rtprio", "limits.conf", "`realtime_priority:`"),
    ("sigpending", "limits.conf", "`pending_signals:`"),
];

/// The same of one dependency in `depends_on:`.
const DEPENDENCY: &[(&str, &str, &str)] = &[
    ("condition=servicehealthy", "Compose", "`is: ready`"),
    ("condition=servicestarted", "Compose", "`is: started`"),
    ("condition=servicecompletedsuccessfully", "Compose", "`is: finished`"),
    ("condition", "Compose", "`is:`"),
    ("required", "Compose", "`soft: true` for `required: false`"),
];

/// Which mapping the keys are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of the whole file.
    Top,
    /// Of a worker.
    Worker,
    /// `limits:` of a worker or cell.
    Limits,
    /// One dependency in `depends_on:`.
    Dependency,
    /// Of another mapping, which has no like elsewhere.
    Other,
}

/// What to write here for a key of another supervisor, with its value where that is a scalar.
pub(super) fn exactly(whose: Whose, key: &str, value: Option<&str>) -> Option<String> {
    advice(whose, key, key, value)
}

/// The same for one that is misspelt.
pub(super) fn nearly(whose: Whose, key: &str, value: Option<&str>) -> Option<String> {
    let words = table(whose).iter().map(|(foreign, ..)| *foreign);
    let words = words.filter(|word| word.len() > 6 && !word.contains('='));
    advice(whose, &nearest(key, words)?, key, value)
}

fn table(whose: Whose) -> &'static [(&'static str, &'static str, &'static str)] {
    match whose {
        Whose::Top => TOP,
        Whose::Worker => WORKER,
        Whose::Limits => LIMITS,
        Whose::Dependency => DEPENDENCY,
        Whose::Other => &[],
    }
}

fn advice(whose: Whose, word: &str, key: &str, value: Option<&str>) -> Option<String> {
    let with_value = format!("{}={}", plain(word), plain(value.unwrap_or_default()));
    let row = |name: &str| table(whose).iter().find(|(foreign, ..)| *foreign == name);
    let (_, origin, here) = row(&with_value).or_else(|| row(word)).or_else(|| row(&plain(word)))?;
    Some(match here.strip_prefix("nothing: ") {
        Some(why) => format!("`{key}` is a key of {origin}: leave it out; {why}"),
        None => format!("`{key}` is a key of {origin}: write {}", filled(here, value)),
    })
}

/// An advice with the value that the user wrote, in the units of this program.
fn filled(here: &str, value: Option<&str>) -> String {
    let Some((before, rest)) = here.split_once('<') else { return here.to_owned() };
    let Some((kind, after)) = rest.split_once('>') else { return here.to_owned() };
    let value = value.and_then(|value| converted(kind, value.trim()));
    let unknown = if kind == "MILLISECONDS" { "DURATION" } else { kind };
    format!("{before}{}{after}", value.as_deref().unwrap_or(unknown))
}

/// `None` for a value that has no plain counterpart here.
fn converted(kind: &str, value: &str) -> Option<String> {
    let number = value.parse::<u64>().ok();
    let is_word = |text: &str| {
        text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    match kind {
        "COUNT" => number.map(|number| number.to_string()),
        "DURATION" | "MILLISECONDS" => match number {
            Some(number) if kind == "DURATION" => Some(format!("{number}s")),
            Some(number) if number % 1000 == 0 => Some(format!("{}s", number / 1000)),
            Some(number) => Some(format!("{number}ms")),
            None => humantime::parse_duration(value).ok().map(|_| value.to_owned()),
        },
        "SIZE" => size(value).map(|_| value.to_owned()).or_else(|| size_meant(value)),
        "SIGNAL" => is_word(value).then(|| value.to_owned()),
        "PERCENT" => value.strip_suffix('%')?.parse::<u32>().ok().map(|_| value.to_owned()),
        "CODES" => {
            let codes = value.split([',', ' ']).filter(|code| !code.is_empty());
            let codes: Option<Vec<&str>> =
                codes.map(|code| is_word(code).then_some(code)).collect();
            codes.filter(|codes| !codes.is_empty()).map(|codes| codes.join(", "))
        }
        "NAME" => {
            let name = value.strip_suffix(".service").unwrap_or(value);
            is_word(name).then(|| name.to_owned())
        }
        _ => None,
    }
}

/// Whether a key of another supervisor says what a worker runs.
pub(super) fn is_command(key: &str) -> bool {
    let word = plain(key);
    WORKER.iter().any(|(foreign, _, here)| *foreign == word && here.starts_with("`command:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advice_has_the_value_of_the_key_and_no_other() {
        let said = |key: &str, value: &str| exactly(Whose::Worker, key, Some(value)).expect(key);
        for (key, value, words) in [
            ("stopsignal", "QUIT", "key of supervisord: write `stop: { signal: QUIT }`"),
            ("stop_signal", "INT", "key of Compose: write `stop: { signal: INT }`"),
            ("startsecs", "5", "`ready: { after: 5s }`"),
            ("RestartSec", "100ms", "`restart: { backoff: { initial: 100ms } }`"),
            ("WatchdogSec", "10", "`heartbeat: 10s`"),
            ("MemoryMax", "1G", "`limits: { memory: 1G }`"),
            ("MemoryMax", "2GB", "`limits: { memory: 2GiB }`"),
            ("MemoryMax", "50%", "`limits: { memory: SIZE }`"),
            ("kill_timeout", "3000", "`stop: { timeout: 3s }`"),
            ("kill_timeout", "soon", "`stop: { timeout: DURATION }`"),
            ("max_restarts", "3", "`restart: { limit: { restarts: 3 } }`"),
            ("exitcodes", "0,2", "`restart: { success: [0, 2] }`"),
            ("Type", "oneshot", "`restart: never`"),
            ("Type", "notify", "`ready: notify`"),
            ("After", "db.service", "`depends_on: { db: { is: ready, soft: true } }`"),
            ("After", "a b", "`depends_on: { NAME: { is: ready, soft: true } }`"),
            ("OnCalendar", "daily", "`supervisord-rs start NAME`"),
        ] {
            let advice = said(key, value);
            assert!(advice.ends_with(words), "{key}: {value}: {advice}");
        }
        let scenario = exactly(Whose::Top, "scenario", Some("a crash")).expect("it has advice");
        assert!(scenario.contains("`supervisord-rs drill list FILE` checks"), "{scenario}");
    }

    #[test]
    fn every_advice_names_a_key_that_there_is() {
        let known = crate::config::worker::TABLE.names();
        for (foreign, _, here) in WORKER {
            if here.starts_with("nothing: ") || here.starts_with("the key under") {
                continue;
            }
            let key = here.split('`').nth(1).and_then(|quoted| quoted.split_once(':'));
            let key = key.map(|(key, _)| key).unwrap_or_default();
            assert!(known.contains(&key), "{foreign}: no key `{key}:` in {here}");
        }
    }
}
