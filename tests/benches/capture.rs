//! The speed of output capture, beside `cat > file` behind the same writer: unchanged bytes, and
//! lines that get a timestamp. Both in one run; ratios carry over to other machines, rates do not.
//!
//! `cargo bench -p supervisord-rs --bench capture`

#[path = "../harness/mod.rs"]
mod harness;

use std::process::Command;
use std::time::{Duration, Instant};

use harness::Bed;

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    // A writer that is faster than any disk: the benchmark measures the way from its pipe to the
    // file.
    let mib: u64 = if is_bench { 2048 } else { 4 };
    let flood = format!(
        "yes 'a line of some length, as programs write them' | head -c {mib}M; echo; echo LAST"
    );
    let bed = Bed::new();
    let rounds = if is_bench { 3 } else { 1 };
    let best = |run: &dyn Fn() -> Duration| (0..rounds).map(|_| run()).min().expect("a round");
    let cat = best(&|| {
        let target = bed.path("cat.log");
        let _ = std::fs::remove_file(&target);
        let begun = Instant::now();
        let done = Command::new("sh")
            .args(["-c", &format!("{{ {flood}; }} | cat > {}", target.display())])
            .status();
        assert!(done.expect("sh runs").success());
        begun.elapsed()
    });
    let size = std::fs::metadata(bed.path("cat.log")).expect("written").len();
    let captured = |logs: &str| {
        let bed = Bed::new();
        let yaml = format!(
            "version: 1\nworkers:\n  w: {{ command: [sh, -c, \"{flood}; exec sleep 1d\"], \
                autostart: false, ready: {{ after: 0s }}, logs: {{ {logs} }} }}\n"
        );
        let supervisor = bed.start(&yaml);
        let begun = Instant::now();
        supervisor.client.start(&["w".into()], false).expect("started");
        let last = "LAST\n";
        supervisor.wait_for(Duration::from_secs(300), "the last line", |supervisor| {
            let path = supervisor.bed.path("logs/w.log");
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let end = tail(&path, length, last.len() as u64);
            end.ends_with(last.as_bytes()).then_some(())
        });
        let passed = begun.elapsed();
        assert_eq!(supervisor.worker("w").lost_output, 0);
        supervisor.stop();
        passed
    };
    let spliced = best(&|| captured("rotate: never"));
    let rotated = best(&|| captured("rotate: { size: 10MiB, keep: 3 }"));
    let stamped = best(&|| captured("rotate: never, timestamps: true"));
    println!("{} MiB; best of {rounds}", size / 1024 / 1024);
    println!("| how                               | MiB/s | of `cat > file` |");
    println!("|-----------------------------------|-------|-----------------|");
    for (name, time) in [
        ("cat > file                       ", cat),
        ("captured as it is (splice)       ", spliced),
        ("captured, rotated at 10 MiB      ", rotated),
        ("captured, a timestamp to each line", stamped),
    ] {
        let rate = size as f64 / 1024.0 / 1024.0 / time.as_secs_f64();
        println!("| {name} | {rate:.0} | {:.2} |", cat.as_secs_f64() / time.as_secs_f64());
    }
}

fn tail(path: &std::path::Path, length: u64, most: u64) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    let mut bytes = vec![0; most.min(length) as usize];
    match file.read_exact_at(&mut bytes, length.saturating_sub(most)) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}
