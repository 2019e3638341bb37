//! Output is not destroyed, not lost uncounted, and bounded: with other writers of the same file,
//! with other files in its place, and with targets that hang.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Bed, EAGER, open_files_by_use, text};
use crate::weight::weight;
use supervisord_rs::record::black_box::CARRIERS;
use supervisord_rs::record::logs::{DESCRIPTORS, KEPT};

/// A worker that writes numbered lines after its name, slowly enough for others to write in
/// between.
fn counting(name: &str, stdout: &str) -> String {
    format!(
        "  {name}: {{ command: [sh, -c, 'for i in $(seq 200); do echo {name} $i; sleep 0.005; \
            done; exec sleep 1d'], ready: {{ after: 0s }}, logs: {{ stdout: {stdout} }} }}\n"
    )
}

/// Every writer's lines are there once, in order.
fn check_counts(text: &str, writers: &[&str], last: u32) {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, number)) = line.split_once(' ') else { continue };
        if let (true, Ok(number)) = (writers.contains(&name), number.parse::<u32>()) {
            let before = seen.insert(name, number).unwrap_or(0);
            assert_eq!(number, before + 1, "{name}: a line is missing, twice, or out of order");
        }
    }
    for writer in writers {
        assert_eq!(seen.get(writer), Some(&last), "{writer}: its last line");
    }
}

/// Three workers whose output goes to one file, which each calls by another name.
fn three_names(bed: &Bed, worker: impl Fn(&str, &str) -> String) -> String {
    fs::create_dir_all(bed.path("logs/sub")).expect("a directory");
    symlink("one.log", bed.path("logs/link.log")).expect("a link");
    format!(
        "version: 1\nworkers:\n{}{}{}",
        worker("a", "one.log"),
        worker("b", "sub/../one.log"),
        worker("c", "link.log")
    )
}

#[test]
fn other_writers_of_a_file_keep_every_line() {
    let bed = Bed::new();
    let yaml = three_names(&bed, counting);
    let supervisor = bed.start(&yaml);
    let file = bed.path("logs/one.log");
    for number in 1..=200 {
        let mut ours = File::options().append(true).create(true).open(&file).expect("the file");
        ours.write_all(format!("ours {number}\n").as_bytes()).expect("written");
        // The pace of the workers: all write at the same time.
        std::thread::sleep(Duration::from_millis(5));
    }
    let read = || fs::read_to_string(&file).expect("the file");
    supervisor.wait("the last lines", |_| {
        ["a 200\n", "b 200\n", "c 200\n"].iter().all(|line| read().contains(line)).then_some(())
    });
    check_counts(&read(), &["a", "b", "c", "ours"], 200);
    supervisor.stop();
}

#[test]
fn three_names_of_one_file_rotate_as_one() {
    let bed = Bed::new();
    let flood = |name: &str, stdout: &str| {
        format!(
            "  {name}: {{ command: [sh, -c, 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \
                {name} $i; done; exec sleep 1d'], ready: {{ after: 0s }}, logs: {{ stdout: \
                {stdout}, rotate: {{ size: 5KiB, keep: 1000 }} }} }}\n"
        )
    };
    let yaml = three_names(&bed, flood);
    let supervisor = bed.start(&yaml);
    let whole = || {
        let mut files: BTreeMap<u32, String> = BTreeMap::new();
        for entry in fs::read_dir(bed.path("logs")).expect("logs").flatten() {
            let name = entry.file_name().into_string().expect("UTF-8");
            if let Some(number) =
                name.strip_prefix("one.log.").and_then(|number| number.parse().ok())
            {
                // A file may just be renamed; at the end none is.
                files.insert(number, fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        files.insert(0, fs::read_to_string(bed.path("logs/one.log")).unwrap_or_default());
        files.into_values().rev().collect::<String>()
    };
    supervisor.wait("the last lines", |_| {
        ["a 3000\n", "b 3000\n", "c 3000\n"].iter().all(|line| whole().contains(line)).then_some(())
    });
    check_counts(&whole(), &["a", "b", "c"], 3000);
    assert!(!bed.path("logs/link.log.1").exists(), "the link stays a link");
    supervisor.stop();
}

#[test]
fn standard_output_keeps_every_line_under_each_of_its_names() {
    let bed = Bed::new();
    let out = bed.path("out.log");
    let yaml = format!(
        "version: 1\nworkers:\n{}{}{}{}{}",
        counting("a", "terminal"),
        counting("b", "/dev/stdout"),
        counting("c", "/proc/self/fd/1"),
        counting("d", out.to_str().expect("UTF-8")),
        counting("e", "inherit")
    );
    let file = bed.write("supervisord-rs.yaml", &yaml);
    // As a shell opens it for `> out.log 2>&1`: without append.
    let output = File::create(&out).expect("a file");
    let mut command = bed.command(&["run", "-c"]);
    command.arg(file).stdout(output.try_clone().expect("a second handle")).stderr(output);
    let supervisor = bed.attach(command);
    let writers = ["a", "b", "c", "d", "e"];
    supervisor.wait("the last lines", |_| {
        let text = fs::read_to_string(&out).expect("the file");
        writers.iter().all(|name| text.contains(&format!("{name} 200\n"))).then_some(())
    });
    check_counts(&fs::read_to_string(&out).expect("the file"), &writers, 200);
    supervisor.stop();
}

#[test]
fn caps_hold_while_files_are_compressed_and_no_other_user_may_read_them() {
    const CAP: u64 = 6 * 1024 * 1024;
    let bed = Bed::new();
    // Random data: slower to compress than to write.
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'head -c 120M /dev/urandom; echo; \
        touch done; exec sleep 1d'], cwd: ., ready: { after: 0s }, logs: { cap: 6MiB, rotate: { \
        size: 1MiB, keep: 100, compress: true } } }\n";
    let supervisor = bed.start(yaml);
    let mut most = 0;
    supervisor.wait("all to be written", |supervisor| {
        most = most.max(weight(&bed.path("logs")).unwrap_or(0));
        supervisor.bed.path("done").exists().then_some(())
    });
    assert!((CAP / 2..=CAP + 2 * 1024 * 1024).contains(&most), "{most} bytes at worst");
    let packed = || -> Vec<fs::DirEntry> {
        let is_packed =
            |entry: &fs::DirEntry| entry.path().extension().is_some_and(|end| end == "gz");
        fs::read_dir(bed.path("logs")).expect("readable").flatten().filter(is_packed).collect()
    };
    supervisor.wait("something compressed", |_| (!packed().is_empty()).then_some(()));
    for entry in packed() {
        let mode = entry.metadata().map_or(0o640, |metadata| metadata.permissions().mode() & 0o777);
        assert_eq!(mode, 0o640, "{}", entry.path().display());
    }
    assert_eq!(supervisor.worker("w").lost_output, 0);
    supervisor.stop();
}

#[test]
fn compression_that_is_behind_is_reported_once_however_few_files_are_kept() {
    let bed = Bed::new();
    // Random data: slower to compress than to write.
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'head -c 60M /dev/urandom; echo; \
        touch done; exec sleep 1d'], cwd: ., ready: { after: 0s }, logs: { rotate: { size: 1MiB, \
        keep: 3, compress: true } } }\n";
    let supervisor = bed.start(yaml);
    supervisor
        .wait("all to be written", |supervisor| supervisor.bed.path("done").exists().then_some(()));
    let has = |name: String| bed.path("logs").join(name).exists();
    supervisor.wait("all to be compressed", |_| {
        (1..=3)
            .all(|number| has(format!("w.log.{number}.gz")) && !has(format!("w.log.{number}")))
            .then_some(())
    });
    let words = "compression is slower than the output of w";
    let log = bed.wait_log(words);
    // Once for each time that it falls behind: where it has caught up meanwhile, another is right.
    // There are sixty rotations.
    let lines = log.matches(words).count();
    assert!(lines < 10, "{lines} lines: {log}");
    let path = format!("path={}", bed.path("logs/w.log").display());
    let mut warning = log.lines().filter(|line| line.contains("compression is slower"));
    assert!(warning.all(|line| line.contains(&path)), "no {path} in:\n{log}");
    supervisor.stop();
}

#[test]
fn a_rotated_log_that_cannot_be_compressed_is_named_with_its_worker() {
    let bed = Bed::new();
    // Where the compressed file would be written, there is a directory.
    bed.write("logs/w.log.gz.new/file", "");
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'head -c 3M /dev/zero; echo; exec \
        sleep 1d'], ready: { after: 0s }, logs: { rotate: { size: 1MiB, keep: 3, compress: true } \
        } }\n";
    let supervisor = bed.start(yaml);
    let line = supervisor.wait("the warning", |_| {
        let log = bed.log();
        log.lines().find(|line| line.contains("stays uncompressed")).map(str::to_owned)
    });
    assert!(line.contains("a rotated log of w stays uncompressed"), "{line}");
    let path = format!("path={}", bed.path("logs/w.log").display());
    assert!(line.contains(&path), "no {path} in {line}");
    assert_eq!(supervisor.worker("w").lost_output, 0, "it is kept as it is");
    supervisor.stop();
}

#[test]
fn targets_that_hang_hold_one_thread_each_however_often_their_workers_die() {
    let bed = Bed::new();
    nix::unistd::mkfifo(&bed.path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let dying = |name: &str, stdout: &str| {
        format!(
            "  {name}: {{ command: [sh, -c, 'seq 2000; exit 1'], ready: {{ after: 1h }}, {EAGER}, \
                logs: {{ stdout: {stdout} }} }}\n"
        )
    };
    let yaml = format!(
        "version: 1\nworkers:\n{}{}{}  good: {{ command: [sh, -c, 'i=0; while :; do i=$((i+1)); \
            echo good $i; sleep 0.01; done'], ready: {{ after: 0s }} }}\n",
        dying("fifo", bed.path("fifo").to_str().expect("UTF-8")),
        dying("shown", "terminal"),
        dying("named", "/dev/stdout"),
    );
    let file = bed.write("supervisord-rs.yaml", &yaml);
    let mut command = bed.command(&["run", "--no-guardian", "-c"]);
    let log = File::create(bed.path("supervisor.log")).expect("a log");
    // A FIFO without a reader: a write to it hangs, and cannot be cancelled.
    command.arg(file).stdout(Stdio::piped()).stderr(log);
    let supervisor = bed.attach(command);
    let own = supervisor.status().supervisor.pid;
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{own}/task")).expect("it lives").flatten();
        tasks
            .filter(|task| {
                fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "logs\n")
            })
            .count()
    };
    let mut most = 0;
    for name in ["fifo", "shown", "named"] {
        supervisor.wait(&format!("many deaths of {name}"), |supervisor| {
            most = most.max(threads());
            (supervisor.worker(name).generation > 40).then_some(())
        });
        supervisor.wait("a loss", |supervisor| {
            most = most.max(threads());
            (supervisor.worker(name).lost_output > 0).then_some(())
        });
    }
    // Two threads that hang, and those that work on a busy machine; with one for each death there
    // would be more than a hundred.
    assert!(most <= 12, "{most} threads");
    let lines = bed.output("good").lines().count();
    supervisor.wait_output("good", &format!("good {}\n", lines + 50));
    assert_eq!(supervisor.worker("good").lost_output, 0);
    supervisor.stop();
}

#[test]
fn however_many_targets_hang_threads_and_their_descriptors_are_bounded() {
    const TARGETS: usize = CARRIERS + 8;
    let bed = Bed::new();
    let names: Vec<String> = (0..TARGETS).map(|number| format!("w{number}")).collect();
    let mut yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n".to_owned();
    // Pipes without a reader: they accept bytes until they are full, and then a write hangs.
    let mut readers = Vec::new();
    for name in &names {
        let fifo = bed.path(name);
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        yaml.push_str(&format!(
            "  {name}: {{ command: [sh, -c, 'read go < go; seq 40000; exec sleep 1d'], cwd: {}, \
                logs: {{ stdout: {} }} }}\n",
            bed.directory.path().display(),
            fifo.display()
        ));
        readers.push(File::options().read(true).write(true).open(&fifo).expect("open"));
    }
    let go = bed.path("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let mut gate = File::options().read(true).write(true).open(&go).expect("open");
    let supervisor = bed.start(&yaml);
    let status = supervisor.wait_running();
    let pids = [status.supervisor.pid, supervisor.child_pid()];
    let before = pids.map(open_files_by_use);
    gate.write_all(&[b'\n'; TARGETS]).expect("a line for each");
    let mut most = [(0, 0); 2];
    supervisor.wait("every target to be given up", |supervisor| {
        let now = pids.map(open_files_by_use);
        most =
            [0, 1].map(|which| (most[which].0.max(now[which].0), most[which].1.max(now[which].1)));
        supervisor
            .client
            .status()
            .ok()?
            .workers
            .iter()
            .all(|worker| worker.lost_output > 0)
            .then_some(())
    });
    let bounds = [CARRIERS * DESCRIPTORS, CARRIERS * KEPT];
    for ((most, before), bound) in most.into_iter().zip(before).zip(bounds) {
        assert!(
            most.0 <= before.0 + bound,
            "{} where {} were: more than {bound}",
            most.0,
            before.0
        );
        assert!(
            most.0 > before.0 + bound / 4,
            "{} where {} were: hardly any hung",
            most.0,
            before.0
        );
        // The supervisor opens each target at the first write to it.
        assert!(most.1 <= before.1 + TARGETS + 20, "{} where {} were", most.1, before.1);
    }
    drop(readers);
    supervisor.stop();
}

#[test]
fn a_limit_on_the_size_of_files_costs_counted_output_and_no_process() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'grep SigIgn /proc/self/status > \
        ignored; head -c 8M /dev/zero; echo; exec sleep 1d'], cwd: ., ready: { after: 0s }, logs: \
        { rotate: never } }\n";
    let small = ["sh", "-c", "ulimit -f 4096; exec \"$0\" \"$@\""];
    let supervisor = bed.start_under(&small, yaml, &[]);
    let before = supervisor.status().supervisor.pid;
    supervisor.wait("a loss", |supervisor| (supervisor.worker("w").lost_output > 0).then_some(()));
    supervisor.bed.wait_log("File too large");
    assert_eq!(
        (supervisor.status().supervisor.pid, supervisor.worker("w").generation),
        (before, 1)
    );
    let ignored = fs::read_to_string(bed.path("ignored")).expect("what the worker ignores");
    let mask =
        ignored.trim().rsplit('\t').next().and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let xfsz = 1 << (nix::sys::signal::Signal::SIGXFSZ as u32 - 1);
    assert_eq!(mask.expect("a mask") & xfsz, 0, "a worker dies of it as it would without us");
    supervisor.stop();
}

#[test]
fn no_link_of_a_worker_leads_the_supervisor_out_of_the_directory() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    fs::set_permissions(bed.directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let precious = bed.write("precious", "precious\n");
    let logs = bed.path("logs");
    fs::create_dir_all(&logs).expect("a directory");
    let link = |name: &str| {
        symlink(&precious, logs.join(name)).expect("a link");
        std::os::unix::fs::lchown(logs.join(name), Some(65_534), Some(65_534)).expect("its owner");
    };
    std::os::unix::fs::chown(&logs, Some(65_534), Some(65_534)).expect("its owner");
    link("w.log");
    link("packed.log.gz.new");
    // Higher up in a path too.
    let vault = bed.path("vault");
    fs::create_dir(&vault).expect("a directory");
    symlink(&vault, logs.join("deep")).expect("a link");
    std::os::unix::fs::lchown(logs.join("deep"), Some(65_534), Some(65_534)).expect("its owner");
    let yaml = "version: 1\ndefaults: { ready: { after: 0s } }\nworkers:\n  \
        w: { command: [sh, -c, 'while :; do echo stolen; sleep 0.01; done'] }\n  \
        packed: { command: [sh, -c, 'seq 20000; exec sleep 1d'], logs: { rotate: { size: 10KiB, \
        compress: true } } }\n";
    let deep = format!(
        "  d: {{ command: [sh, -c, 'while :; do echo stolen; sleep 0.01; done'], logs: {{ stdout: \
            {} }} }}\n",
        logs.join("deep/new/d.log").display()
    );
    let supervisor = bed.start(&format!("{yaml}{deep}"));
    for name in ["w", "d"] {
        supervisor
            .wait("a loss", |supervisor| (supervisor.worker(name).lost_output > 0).then_some(()));
    }
    assert_eq!(fs::read_dir(&vault).expect("ours").count(), 0, "it is not entered");
    supervisor.bed.wait_log("link of another user");
    supervisor.wait("compression", |_| logs.join("packed.log.1.gz").exists().then_some(()));
    assert_eq!(fs::read_to_string(&precious).expect("there"), "precious\n");
    // Nor does it lead root, who reads the log, to a file of root's.
    let output = bed.verb(&["logs", "w"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!out.contains("precious") && err.contains("link of another user"), "{out}{err}");
    assert_eq!(output.status.code(), Some(4), "{err}");
    supervisor.wait("its last line", |_| {
        (text(&bed.verb(&["logs", "packed", "-n", "1"]).stdout) == "20000\n").then_some(())
    });
    assert_eq!(precious.metadata().expect("there").uid(), 0);
    // A link of the supervisor's own user works.
    fs::remove_file(logs.join("w.log")).expect("ours");
    symlink(bed.path("elsewhere"), logs.join("w.log")).expect("a link");
    supervisor.wait("output behind the link", |_| {
        fs::read_to_string(bed.path("elsewhere"))
            .is_ok_and(|text| text.contains("stolen\n"))
            .then_some(())
    });
    supervisor.stop();
}

#[test]
fn incidents_are_for_the_group_and_a_torn_one_costs_no_other() {
    let bed = Bed::new();
    fs::create_dir_all(bed.path("state")).expect("a directory");
    fs::write(bed.path("state/incidents.jsonl"), "{\"id\": 7, \"sentence\": \"tor")
        .expect("written");
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'exit 1'], restart: never, ready: \
        { after: 1h } }\n";
    let supervisor = bed.start(yaml);
    let id = supervisor.wait_incident(0).id;
    supervisor.stop();
    let text = fs::read_to_string(bed.path("state/incidents.jsonl")).expect("there");
    let last: serde_json::Value =
        serde_json::from_str(text.lines().last().expect("a line")).expect("a whole record");
    assert_eq!(last["id"], id);
    fs::remove_file(bed.path("state/incidents.jsonl")).expect("ours");
    let supervisor = bed.start(yaml);
    supervisor.wait_incident(0);
    supervisor.stop();
    let mode = fs::metadata(bed.path("state/incidents.jsonl")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}
