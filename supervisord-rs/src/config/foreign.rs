//! Keys of other supervisors, and what they are called here.

use super::nearest::{nearest, plain};

/// Key elsewhere, whose it is, what to write here. Compared without case, `_` and `-`.
const WORKER: &[(&str, &str, &str)] = &[
    // supervisord
    ("autorestart", "supervisord", "`restart: always`, `on-failure` or `never`"),
    ("directory", "supervisord", "`cwd:`"),
    ("environment", "supervisord and Compose", "`env:`"),
    ("exitcodes", "supervisord", "`restart: { success: [0, 2] }`"),
    ("killasgroup", "supervisord", "nothing: all processes of a worker are killed"),
    ("numprocs", "supervisord", "`instances:`"),
    ("priority", "supervisord", "`depends_on:`, which orders the start"),
    ("processname", "supervisord", "the key under `workers:`, which is the worker's name"),
    ("redirectstderr", "supervisord", "nothing: stderr goes where stdout goes, by default"),
    ("startretries", "supervisord", "`restart: { limit: { restarts: 3, within: 60s } }`"),
    ("startsecs", "supervisord", "`ready: { after: 3s }`"),
    ("stderrlogfile", "supervisord", "`logs: { stderr: FILE }`"),
    ("stdoutlogfile", "supervisord", "`logs: { stdout: FILE }`"),
    ("stdoutlogfilebackups", "supervisord", "`logs: { rotate: { keep: 10 } }`"),
    ("stdoutlogfilemaxbytes", "supervisord", "`logs: { rotate: { size: 50MiB } }`"),
    ("stderrlogfilebackups", "supervisord", "`logs: { rotate: { keep: 10 } }`"),
    ("stderrlogfilemaxbytes", "supervisord", "`logs: { rotate: { size: 50MiB } }`"),
    ("stopasgroup", "supervisord", "nothing: all processes of a worker are stopped"),
    ("stopsignal", "supervisord and Compose", "`stop: { signal: TERM }`"),
    ("stopwaitsecs", "supervisord", "`stop: { timeout: 10s }`"),
    // systemd
    ("after", "systemd", "`depends_on:`"),
    ("cpuaffinity", "systemd", "`cpus: [0, 2-3]`"),
    ("cpuquota", "systemd", "`limits: { cpu: 50% }`"),
    ("environmentfile", "systemd", "`env_file:`"),
    ("execreload", "systemd", "`reload_signal: HUP`"),
    ("execstart", "systemd", "`command: [PROGRAM, ARGUMENT]`"),
    ("execstartpre", "systemd", "`start_before: [PROGRAM, ARGUMENT]`"),
    ("execstop", "systemd", "`stop: { command: [PROGRAM, ARGUMENT] }`"),
    ("execstartpost", "systemd", "`hooks: [{ on: running, command: [PROGRAM] }]`"),
    ("execstoppost", "systemd", "`hooks: [{ on: stopped, command: [PROGRAM] }]`"),
    ("killmode", "systemd", "`stop: { scope: tree }` or `main`"),
    ("killsignal", "systemd", "`stop: { signal: TERM }`"),
    ("limitcore", "systemd", "`limits: { core: unlimited }`"),
    ("limitnofile", "systemd", "`limits: { open_files: 4096 }`"),
    ("limitnproc", "systemd", "`limits: { processes: 64 }`"),
    ("loadcredential", "systemd", "`secrets: { NAME: FILE }`"),
    ("memoryhigh", "systemd", "`limits: { memory_high: 224MiB }`"),
    ("memorymax", "systemd", "`limits: { memory: 256MiB }`"),
    ("oomscoreadjust", "systemd", "`oom_score_adj:`"),
    ("requires", "systemd", "`depends_on:`"),
    ("restartpreventexitstatus", "systemd", "`restart: { never_on: [78] }`"),
    ("restartsec", "systemd", "`restart: { backoff: { initial: 100ms } }`"),
    ("standarderror", "systemd", "`logs: { stderr: FILE }`"),
    ("standardoutput", "systemd", "`logs: { stdout: FILE }`"),
    ("startlimitburst", "systemd", "`restart: { limit: { restarts: 5, within: 60s } }`"),
    ("startlimitintervalsec", "systemd", "`restart: { limit: { restarts: 5, within: 60s } }`"),
    ("successexitstatus", "systemd", "`restart: { success: [143] }`"),
    ("supplementarygroups", "systemd", "`groups:`"),
    ("tasksmax", "systemd", "`limits: { pids: 64 }`"),
    ("timeoutstartsec", "systemd", "`ready: { timeout: 30s }`"),
    ("timeoutstopsec", "systemd", "`stop: { timeout: 10s }`"),
    ("type", "systemd", "`ready: notify`, or another way to be ready"),
    ("wants", "systemd", "`depends_on: { NAME: { is: ready, soft: true } }`"),
    ("watchdogsec", "systemd", "`heartbeat: 30s`"),
    ("workingdirectory", "systemd", "`cwd:`"),
    // Compose, Kubernetes, PM2, Procfiles
    ("build", "Compose", "`command:`; supervisord-rs runs programs, not images"),
    ("containername", "Compose", "the key under `workers:`, which is the worker's name"),
    ("cpuset", "Compose", "`cpus: [0, 2-3]`"),
    ("deploy", "Compose", "`instances:` and `limits:`"),
    ("entrypoint", "Compose", "`command:`"),
    ("healthcheck", "Compose", "`health: { exec: [PROGRAM], every: 10s }`"),
    ("image", "Compose", "`command:`; supervisord-rs runs programs, not images"),
    ("logging", "Compose", "`logs:`"),
    ("memlimit", "Compose", "`limits: { memory: 256MiB }`"),
    ("pidslimit", "Compose", "`limits: { pids: 64 }`"),
    ("ports", "Compose", "`sockets:`, or nothing: the worker may listen by itself"),
    ("scale", "Compose", "`instances:`"),
    ("stopgraceperiod", "Compose", "`stop: { timeout: 10s }`"),
    ("ulimits", "Compose", "`limits:`"),
    ("workingdir", "Compose", "`cwd:`"),
    ("livenessprobe", "Kubernetes", "`health: { liveness: ... }`"),
    ("readinessprobe", "Kubernetes", "`health: { readiness: ... }`"),
    ("replicas", "Kubernetes", "`instances:`"),
    ("startupprobe", "Kubernetes", "`health: { startup: ... }`"),
    ("terminationgraceperiodseconds", "Kubernetes", "`stop: { timeout: 10s }`"),
    ("cronrestart", "PM2", "nothing: start it from cron with `supervisord-rs restart NAME`"),
    ("errorfile", "PM2", "`logs: { stderr: FILE }`"),
    ("execmode", "PM2", "`instances:` and `sockets:`, which instances share"),
    ("expbackoffrestartdelay", "PM2", "`restart: { backoff: { initial: 100ms, max: 30s } }`"),
    ("interpreter", "PM2", "it as the first word of `command:`"),
    ("killtimeout", "PM2", "`stop: { timeout: 10s }`"),
    ("maxmemoryrestart", "PM2", "`limits: { memory: 256MiB }`"),
    ("maxrestarts", "PM2", "`restart: { limit: { restarts: 5, within: 60s } }`"),
    ("mergelogs", "PM2", "nothing: name one file in `logs: { stdout: FILE }` of each"),
    ("minuptime", "PM2", "`ready: { after: 3s }`"),
    ("outfile", "PM2", "`logs: { stdout: FILE }`"),
    ("waitready", "PM2", "`ready: notify`, or another way to be ready"),
    ("script", "PM2", "`command:`"),
    ("cmd", "other programs", "`command:`"),
    ("exec", "other programs", "`command:`"),
    ("program", "other programs", "`command:`"),
    ("run", "other programs", "`command:`"),
];

/// The same at the top of the file.
const TOP: &[(&str, &str, &str)] = &[
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
    ("memlock", "limits.conf", "`locked_memory:`"),
    ("msgqueue", "limits.conf", "`message_queues:`"),
    ("nofile", "limits.conf", "`open_files:`"),
    ("nproc", "limits.conf", "`processes:`, or `pids:` for the worker alone"),
    ("rss", "limits.conf", "`memory:`"),
    ("rtprio", "limits.conf", "`realtime_priority:`"),
    ("sigpending", "limits.conf", "`pending_signals:`"),
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
    /// Of another mapping, which has no like elsewhere.
    Other,
}

/// What to write here for a key of another supervisor.
pub(super) fn exactly(whose: Whose, key: &str) -> Option<String> {
    advice(whose, &plain(key), key)
}

/// The same for one that is misspelt.
pub(super) fn nearly(whose: Whose, key: &str) -> Option<String> {
    let words = table(whose).iter().map(|(foreign, ..)| *foreign).filter(|word| word.len() > 6);
    advice(whose, &nearest(key, words)?, key)
}

fn table(whose: Whose) -> &'static [(&'static str, &'static str, &'static str)] {
    match whose {
        Whose::Top => TOP,
        Whose::Worker => WORKER,
        Whose::Limits => LIMITS,
        Whose::Other => &[],
    }
}

fn advice(whose: Whose, word: &str, key: &str) -> Option<String> {
    let (_, origin, here) = table(whose).iter().find(|(foreign, ..)| *foreign == word)?;
    Some(match here.strip_prefix("nothing: ") {
        Some(why) => format!("`{key}` is a key of {origin}: leave it out; {why}"),
        None => format!("`{key}` is a key of {origin}: write {here}"),
    })
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
    fn every_advice_names_a_key_that_there_is() {
        let known = crate::config::worker::known_keys();
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
