//! Captured output: a crash or a rotation loses nothing, and the loss to a bad disk is counted and
//! marked.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use supervisord_rs::process_table;

use crate::harness::{Bed, EAGER, Supervisor, read_in_time, text};

/// All files of a log, oldest first, as one text.
fn whole(path: &Path) -> Vec<u8> {
    let mut rotated: BTreeMap<u32, PathBuf> = BTreeMap::new();
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    for entry in std::fs::read_dir(path.parent().expect("a directory")).expect("readable").flatten()
    {
        let file = entry.file_name().into_string().expect("UTF-8");
        if let Some(number) = file
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('.')?.trim_end_matches(".gz").parse().ok())
        {
            rotated.insert(number, entry.path());
        }
    }
    let mut bytes = Vec::new();
    for file in rotated.into_values().rev().chain([path.to_path_buf()]) {
        let content = std::fs::read(&file).unwrap_or_default();
        if file.extension().is_some_and(|extension| extension == "gz") {
            flate2::read::GzDecoder::new(&content[..]).read_to_end(&mut bytes).expect("gzip");
        } else {
            bytes.extend(content);
        }
    }
    bytes
}

/// A writer that numbers its lines and crashes: `GENERATION NUMBER`.
fn crashing(lines: u32) -> String {
    format!(
        "command: [sh, -c, 'read g < gen; echo $((g+1)) > gen; seq -f \"$g %.0f\" 1 {lines}; kill \
            -SEGV $$'], cwd: ., ready: {{ after: 1h }}"
    )
}

#[test]
fn a_thousand_crashes_through_rotation_lose_no_line_and_double_none() {
    const CRASHES: u64 = 1000;
    const LINES: u32 = 300;
    let bed = Bed::new();
    bed.write("gen", "0\n");
    let yaml = format!(
        "version: 1\ndefaults: {{ {EAGER} }}\nworkers:\n  \
            w: {{ {}, logs: {{ rotate: {{ size: 64KiB, keep: 1000 }} }} }}\n",
        crashing(LINES)
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_for(Duration::from_secs(300), "a thousand crashes", |supervisor| {
        (supervisor.client.status().ok()?.workers[0].generation > CRASHES).then_some(())
    });
    supervisor.client.stop(&["w".into()], true).expect("stopped");
    assert_eq!(supervisor.worker("w").lost_output, 0);
    supervisor.stop();
    let text = String::from_utf8(whole(&bed.path("logs/w.log"))).expect("ASCII");
    let mut expected = (0_u64, 1_u32);
    for line in text.lines() {
        let (generation, number) = line.split_once(' ').unwrap_or_else(|| panic!("torn: {line:?}"));
        let seen: (u64, u32) =
            (generation.parse().expect("a number"), number.parse().expect("a number"));
        // The last one was stopped somewhere in the middle; every other is whole.
        if seen != expected {
            assert_eq!(
                (seen, expected.1),
                ((expected.0 + 1, 1), LINES + 1),
                "after {expected:?} comes {seen:?}"
            );
        }
        expected = (seen.0, seen.1 + 1);
    }
    assert!(expected.0 >= CRASHES - 1, "{expected:?}");
    assert!(bed.path("logs/w.log.20").exists(), "it was rotated");
}

#[test]
fn rotation_keeps_so_many_compresses_and_keeps_to_the_cap() {
    let bed = Bed::new();
    let yaml = "version: 1\ndefaults: { restart: never, ready: { after: 1h } }\nworkers:\n  \
        few: { command: [seq, -f, 'line %.0f', '200000'], logs: { rotate: { size: 100KiB, keep: 3 \
        } } }\n  \
        small: { command: [seq, -f, 'line %.0f', '200000'], logs: { rotate: { size: 100KiB, keep: \
        3, compress: true } } }\n  \
        capped: { command: [seq, -f, 'line %.0f', '200000'], logs: { cap: 250KiB, rotate: { size: \
        100KiB, keep: 100 } } }\n  \
        never: { command: [seq, -f, 'line %.0f', '200000'], logs: { rotate: never } }\n";
    let supervisor = bed.start(yaml);
    for name in ["few", "small", "capped", "never"] {
        supervisor.wait_phase(name, "finished");
    }
    let logs = bed.path("logs");
    let has = |name: &str| logs.join(name).exists();
    supervisor
        .wait("compression", |_| (has("small.log.1.gz") && !has("small.log.1")).then_some(()));
    supervisor.stop();
    assert!(has("few.log.3") && !has("few.log.4"));
    assert!(!has("small.log.4.gz"));
    for name in ["few", "small"] {
        let bytes = whole(&logs.join(format!("{name}.log")));
        let all = text(&bytes);
        let numbers: Vec<u32> =
            all.lines().map(|line| line[5..].parse().expect("a whole line")).collect();
        assert_eq!(numbers.last(), Some(&200_000), "{name}");
        assert!(
            numbers.windows(2).all(|two| two[1] == two[0] + 1),
            "{name}: a hole or a torn line"
        );
    }
    let size: u64 = std::fs::read_dir(&logs)
        .expect("readable")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("capped"))
        .map(|entry| entry.metadata().expect("there").len())
        .sum();
    assert!(size <= 350 * 1024, "{size} bytes");
    assert!(!has("never.log.1"));
}

#[test]
fn age_rotates_too() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'while :; do date; sleep 0.1; \
        done'], ready: { after: 0s }, logs: { rotate: { every: 1s } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait("two rotations", |supervisor| {
        supervisor.bed.path("logs/w.log.2").exists().then_some(())
    });
    supervisor.stop();
}

#[test]
fn lines_get_what_is_asked_for_and_streams_go_where_they_should() {
    let bed = Bed::new();
    let both = "command: [sh, -c, 'printf \"out\\\\377\\\\n\"; printf \"err\\\\n\
        \" >&2; printf rest'], restart: never, ready: { after: 1h }";
    let yaml = format!(
        "version: 1\nworkers:\n  merged: {{ {both} }}\n  \
            apart: {{ {both}, logs: {{ stderr: apart.err }} }}\n  \
         timed: {{ {both}, logs: {{ timestamps: true, prefix: true }} }}\n  \
         json: {{ {both}, logs: {{ format: json, stderr: json.err }} }}\n  \
         nowhere: {{ {both}, logs: {{ stdout: 'null', stderr: 'null' }} }}\n  \
         shown: {{ {both}, logs: {{ stdout: terminal }} }}\n  \
         through: {{ {both}, logs: {{ stdout: inherit }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    for name in ["merged", "apart", "timed", "json", "nowhere", "shown", "through"] {
        supervisor.wait_phase(name, "finished");
    }
    supervisor.stop();
    let read = |name: &str| std::fs::read(bed.path("logs").join(name)).unwrap_or_default();
    assert_eq!(read("merged.log"), b"out\xff\nerr\nrest", "bytes are kept");
    assert_eq!(
        (read("apart.log"), read("apart.err")),
        (b"out\xff\nrest".to_vec(), b"err\n".to_vec())
    );
    let timed = text(&read("timed.log"));
    assert!(
        timed
            .lines()
            .all(|line| line.as_bytes()[10] == b'T' && line[24..].starts_with(" timed | ")),
        "{timed}"
    );
    assert_eq!(timed.lines().count(), 3, "the line without an end too: {timed}");
    let first: serde_json::Value =
        serde_json::from_slice(read("json.log").split(|b| *b == b'\n').next().expect("a line"))
            .expect("JSON");
    assert_eq!(
        (&first["worker"], &first["stream"], &first["bytes"]),
        (&"json".into(), &"stdout".into(), &"6f7574ff".into())
    );
    let err: serde_json::Value = serde_json::from_slice(&read("json.err")).expect("JSON");
    assert_eq!((&err["stream"], &err["message"]), (&"stderr".into(), &"err".into()));
    assert!(!bed.path("logs/nowhere.log").exists());
    let log = std::fs::read(bed.path("supervisor.log")).expect("the supervisor's output");
    assert_eq!(text(&log).matches("err\n").count(), 2, "shown and through: {}", text(&log));
}

/// Kills the supervisor, and returns which one that was. Before that its threads for output have
/// come to rest: they count what they have written after that is in the file, and what is not
/// counted was no incarnation's for the next supervisor.
fn kill_at_rest(supervisor: &Supervisor<'_>) -> i32 {
    let pid = supervisor.status().supervisor.pid;
    supervisor.wait("its threads to rest", |_| {
        let all = process_table::threads(pid).into_iter();
        let mut all = all.filter_map(|tid| process_table::thread_stat(pid, tid));
        all.all(|stat| stat.name_lossy() != "logs" || stat.state == 'S').then_some(())
    });
    crate::harness::kill(pid, nix::sys::signal::Signal::SIGKILL);
    pid
}

#[test]
fn the_last_lines_are_those_of_the_incarnation_that_died() {
    let bed = Bed::new();
    // Over deaths of the supervisor too: the third run begins under one and ends under the next.
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'echo x >> runs; n=$(wc -l < \
        runs); if [ $n = 2 ]; then exit 3; fi; echo run $n; while [ $n = 3 -a ! -e go ]; do sleep \
        0.01; done; if [ $n = 5 ]; then exec sleep 1d; fi; exit 3'], cwd: ., ready: { after: 0s \
        }, restart: { backoff: { initial: 0s } } }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_output("w", "run 3");
    let before = supervisor.wait_phase("w", "running");
    assert!(before.pid.is_some() && before.generation == 3, "{before:?}");
    let pid = kill_at_rest(&supervisor);
    supervisor.wait_successor(pid);
    assert_eq!(supervisor.worker("w").pid, before.pid, "it was adopted");
    bed.write("go", "");
    let incidents = supervisor.wait("four incidents", |supervisor| {
        let all = supervisor.incidents().into_iter();
        let own: Vec<_> = all.filter(|one| one.worker.as_deref() == Some("w")).collect();
        (own.len() == 4).then_some(own)
    });
    for incident in incidents {
        let generation = incident.generation.expect("of an incarnation");
        let lines: &[String] = match generation {
            2 => &[],
            _ => &[format!("run {generation}")],
        };
        assert_eq!(incident.last_output, lines, "{incident:?}");
    }
    supervisor.stop();
}

#[test]
fn the_last_lines_of_an_adopted_worker_are_whole_whatever_form_they_have_in_the_file() {
    let bed = Bed::new();
    let worker = |name: &str, logs: &str| {
        let script =
            "seq -f \"line %.0f of $0\" 12; while [ ! -e go ]; do sleep 0.01; done; exit 3";
        format!(
            "  {name}: {{ command: [sh, -c, '{script}', {name}], cwd: ., restart: never, ready: {{ \
             after: 0s }}, logs: {{ {logs} }} }}\n"
        )
    };
    let workers = [
        ("timed", "timestamps: true"),
        ("prefixed", "timestamps: true, prefix: true, stdout: both.log"),
        ("other", "prefix: true, timestamps: true, stdout: both.log"),
        ("json", "format: json"),
        ("rotated", "format: json, rotate: { size: 1KiB, keep: 9 }"),
        ("raw", "rotate: { size: 100B, keep: 9 }"),
    ];
    let yaml = workers.map(|(name, logs)| worker(name, logs)).concat();
    let supervisor = bed.start(&format!("version: 1\nworkers:\n{yaml}"));
    for (name, _) in workers {
        let last = format!("line 12 of {name}");
        supervisor.wait("its last line", |supervisor| {
            text(&supervisor.bed.verb(&["logs", "-n99", name]).stdout).contains(&last).then_some(())
        });
    }
    let pid = kill_at_rest(&supervisor);
    supervisor.wait_successor(pid);
    bed.write("go", "");
    let incidents = supervisor.wait("an incident of each", |supervisor| {
        let all = supervisor.incidents().into_iter();
        let own: Vec<_> = all.filter(|one| !one.supervisor_died).collect();
        (own.len() == workers.len()).then_some(own)
    });
    for incident in incidents {
        let name = incident.worker.as_deref().expect("of a worker");
        let lines: Vec<_> = (3..=12).map(|line| format!("line {line} of {name}")).collect();
        assert_eq!(incident.last_output, lines);
    }
    supervisor.stop();
}

#[test]
fn an_incident_shows_the_last_lines_of_its_culprit() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'seq 1 50; echo the very last >&2; \
        kill -SEGV $$'], restart: never, ready: { after: 1h } }\n";
    let supervisor = bed.start(yaml);
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.last_output.len(), 10);
    assert_eq!(incident.last_output.last().map(String::as_str), Some("the very last"));
    assert_eq!(incident.last_output[0], "42");
    let shown = text(&bed.verb(&["incidents", "1"]).stdout);
    assert!(shown.contains("the very last"), "{shown}");
    supervisor.stop();
}

#[test]
fn usr2_reopens_and_a_removed_file_or_directory_comes_back() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo \
        line $i; sleep 0.005; done'], ready: { after: 0s } }\n";
    let supervisor = bed.start_with(yaml, &["--no-guardian"]);
    let log = bed.path("logs/w.log");
    supervisor.wait_output("w", "line 3\n");
    std::fs::rename(&log, bed.path("logs/w.old")).expect("renamed");
    crate::harness::kill(supervisor.child_pid(), nix::sys::signal::Signal::SIGUSR2);
    supervisor.wait("the new file", |_| log.exists().then_some(()));
    supervisor.wait_output("w", "line ");
    std::fs::remove_file(&log).expect("removed");
    supervisor.wait_output("w", "line ");
    std::fs::remove_dir_all(bed.path("logs")).expect("removed");
    supervisor.wait_output("w", "line ");
    // Output in removed files is gone with them; output that reached no file would be counted.
    assert_eq!(supervisor.worker("w").lost_output, 0);
    supervisor.stop();
}

#[test]
fn logs_shows_the_last_lines_and_follows_through_rotation() {
    let bed = Bed::new();
    let yaml = "version: 1\ngroups: { g: { workers: [a, b] } }\n\
        defaults: { ready: { after: 0s }, logs: { rotate: { size: 2KiB, keep: 100 }, timestamps: \
        true } }\nworkers:\n  \
        a: { command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo a$i; sleep 0.002; done'] }\n  \
        b: { command: [sh, -c, 'echo b1; exec sleep 1d'] }\n  \
        c: { command: [sh, -c, 'echo c1; exec sleep 1d'] }\n";
    let supervisor = bed.start(yaml);
    for (name, words) in [("a", "a9"), ("b", "b1"), ("c", "c1")] {
        supervisor.wait_output(name, words);
    }
    let group = text(&bed.verb(&["logs", "g:", "-n", "3"]).stdout);
    assert!(group.contains("b | ") && group.contains("a | ") && !group.contains("c1"), "{group}");
    assert_eq!(group.lines().count(), 4, "three of a, one of b: {group}");
    let times: Vec<&str> = group.lines().map(|line| &line[4..28]).collect();
    assert!(times.is_sorted(), "by time: {group}");
    let mut follower = bed
        .command(&["logs", "-f", "a", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut seen = Vec::new();
    let mut output = follower.stdout.take().expect("piped");
    let mut buffer = [0; 4096];
    while seen.iter().filter(|byte| **byte == b'\n').count() < 400 {
        let count = read_in_time(&mut output, &mut buffer);
        assert!(count > 0, "it ended");
        seen.extend_from_slice(&buffer[..count]);
    }
    follower.kill().expect("our child");
    follower.wait().expect("our child");
    let text = text(&seen);
    let numbers: Vec<u32> = text
        .lines()
        .filter_map(|line| line.split_once(" a").and_then(|(_, number)| number.parse().ok()))
        .collect();
    let whole = &numbers[..numbers.len() - 1];
    assert!(
        whole.len() > 300 && whole.windows(2).all(|two| two[1] == two[0] + 1),
        "a hole: {numbers:?}"
    );
    assert!(bed.path("logs/a.log.2").exists(), "it was rotated meanwhile");
    assert_eq!(bed.verb(&["logs", "nobody"]).status.code(), Some(5));
    supervisor.stop();
}

/// A file system of a few hundred KiB, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).expect("a directory");
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .status();
        assert!(mounted.expect("mount runs").success());
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_blocks_no_worker_and_lost_output_is_counted_and_marked() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let disk = SmallDisk::mount(bed.path("logs"), "256k");
    let state = SmallDisk::mount(bed.path("state"), "16k");
    std::fs::write(bed.path("state/filler"), vec![0; 64 * 1024]).expect_err("it is full");
    let other = bed.path("other.log");
    let yaml = format!(
        "version: 1\nworkers:\n  flood: {{ command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo \
            flood $i; done'], ready: {{ after: 0s }} }}\n  \
         good: {{ command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo good $i; sleep 0.001; \
         done'], ready: {{ after: 0s }}, logs: {{ stdout: {} }} }}\n  \
         crash: {{ command: [sh, -c, 'sleep 0.05; exit 1'], restart: {{ backoff: {{ initial: \
         10ms, max: 10ms }}, limit: {{ restarts: 100000, within: 60s }} }}, ready: {{ after: 1h \
         }}, logs: {{ stdout: 'null' }} }}\n",
        other.display()
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait("a loss", |supervisor| {
        (supervisor.worker("flood").lost_output > 1_000_000).then_some(())
    });
    let good = supervisor.worker("good");
    assert_eq!((good.lost_output, good.generation), (0, 1));
    assert_eq!(supervisor.worker("flood").generation, 1, "the worker noticed nothing");
    // The supervisor still has the incidents that do not fit on the disk.
    supervisor.wait("incidents", |supervisor| (supervisor.incidents().len() > 20).then_some(()));
    supervisor.bed.wait_log("the output of flood");
    let said = bed.log();
    let warning = said.lines().find(|line| line.contains("the output of")).expect("waited for");
    assert!(warning.contains("worker=\"flood\""), "{warning}");
    let path = bed.path("logs/flood.log").display().to_string();
    assert!(warning.contains(&format!("flood cannot be written to {path}: ")), "{warning}");
    std::fs::remove_file(bed.path("logs/flood.log")).expect("removed");
    supervisor.wait_output("flood", "bytes of flood lost here]");
    supervisor.client.stop(&["flood".into(), "good".into()], true).expect("stopped");
    supervisor.stop();
    let text = std::fs::read_to_string(&other).expect("the other's log");
    let numbers: Vec<u32> = text.lines().map(|line| line[5..].parse().expect("whole")).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "the other lost something");
    drop((disk, state));
}

#[test]
fn a_reader_that_stalls_blocks_no_worker() {
    let bed = Bed::new();
    let fifo = bed.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let yaml = format!(
        "version: 1\nworkers:\n  stuck: {{ command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo \
            stuck $i; echo $i > at; done'], cwd: ., ready: {{ after: 0s }}, logs: {{ stdout: {} \
            }} }}\n  \
         good: {{ command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo good $i; sleep 0.001; \
         done'], ready: {{ after: 0s }} }}\n",
        fifo.display()
    );
    let supervisor = bed.start(&yaml);
    // A reader that has opened it and does not read.
    let reader = std::fs::File::options().read(true).write(true).open(&fifo).expect("open");
    supervisor.wait_output("good", "good 50\n");
    supervisor
        .wait("a loss", |supervisor| (supervisor.worker("stuck").lost_output > 0).then_some(()));
    let at = || {
        std::fs::read_to_string(bed.path("at"))
            .unwrap_or_default()
            .trim()
            .parse::<u64>()
            .unwrap_or(0)
    };
    let before = at();
    supervisor.wait("the worker to go on", |_| (at() > before + 1000).then_some(()));
    supervisor.wait("a warning", |supervisor| {
        let log = supervisor.bed.log();
        let warning = log.lines().find(|line| line.contains("it has taken nothing"))?.to_owned();
        let target = format!("the output of stuck cannot be written to {}: ", fifo.display());
        assert!(warning.contains(&target), "{warning}");
        Some(())
    });
    assert_eq!(supervisor.worker("good").lost_output, 0);
    // The reader comes back, and reads how much it missed.
    let again = format!("the output of stuck is written to {} again; ", fifo.display());
    let mut seen = String::new();
    let mut buffer = vec![0; 65536];
    while !seen.contains("bytes of stuck lost here]") {
        let count = read_in_time(&reader, &mut buffer);
        seen.push_str(&text(&buffer[..count]));
    }
    bed.wait_log(&again);
    drop(reader);
    supervisor.stop();
}

#[test]
fn a_directory_that_cannot_be_written_is_reported_and_the_worker_runs() {
    let bed = Bed::new();
    // A file where a directory should be: not even root can write below it.
    bed.write("file", "");
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [sh, -c, 'while :; do echo x; sleep 0.01; done'], \
            ready: {{ after: 0s }}, logs: {{ stdout: {}/x.log }} }}\n",
        bed.path("file").display()
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_phase("w", "running");
    supervisor.wait("a loss", |supervisor| (supervisor.worker("w").lost_output > 0).then_some(()));
    supervisor.wait("a warning", |supervisor| {
        let target = bed.path("file/x.log").display().to_string();
        let words = format!("the output of w cannot be written to {target}: ");
        supervisor.bed.log().contains(&words).then_some(())
    });
    supervisor.stop();
}

#[test]
fn several_instances_share_one_file_and_no_line_is_cut() {
    const LINES: usize = 3000;
    let bed = Bed::new();
    // Each line comes in two writes.
    let writer = "import os, sys\nfor n in range(int(sys.argv[2])):\n    \
        os.write(1, b'%s ' % sys.argv[1].encode())\n    os.write(1, b'%d end\\n' % n)\n";
    bed.write("writer.py", writer);
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    instances: 3\n    \
            command: [python3, writer.py, '${{name}}', '{LINES}']\n    cwd: .\n    \
         restart: never\n    ready: {{ after: 1h }}\n    logs: {{ stdout: same.log }}\n"
    );
    let supervisor = bed.start(&yaml);
    for number in 1..=3 {
        supervisor.wait_phase(&format!("w.{number}"), "finished");
    }
    supervisor.stop();
    let content = text(&whole(&bed.path("logs/same.log")));
    for number in 1..=3 {
        let own = content.lines().filter(|line| line.starts_with(&format!("w.{number} ")));
        let expected: Vec<String> = (0..LINES).map(|n| format!("w.{number} {n} end")).collect();
        assert_eq!(own.collect::<Vec<_>>(), expected, "of w.{number}");
    }
    assert_eq!(content.lines().count(), 3 * LINES);
}
