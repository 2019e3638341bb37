//! What is left when a measurement ends early: nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use measure::{Axis, Effort, Progress};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::sane::Invented;

/// Has this program measure until it is ended.
pub(crate) const MEASURE: &str = "measure-for-ever";
const DEADLINE: Duration = Duration::from_secs(60);

/// Says that it has begun.
struct Says;

impl Progress for Says {
    fn is_at(&self, axis: Axis, _index: usize, _count: usize, _left: Duration) {
        println!("{axis}");
    }
}

pub(crate) fn measure_for_ever() -> ! {
    let axes = [
        Axis::Memory,
        Axis::Communication,
        Axis::Scalability,
        Axis::TimeSlicing,
        Axis::Parallelism,
    ];
    loop {
        measure::run(&axes, Effort::quick(), &Invented, &Says).expect("a report");
    }
}

/// The children of this process, and what they are.
fn children() -> Vec<(i32, String)> {
    let own = std::process::id();
    let tasks = std::fs::read_dir(format!("/proc/{own}/task")).expect("ours").flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")));
    let pids = lists.flatten().flat_map(|list| {
        list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()).collect::<Vec<_>>()
    });
    let words = |pid: i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&words).replace('\0', " "))
    };
    pids.map(words).collect()
}

pub(crate) fn no_process_outlives_the_one_that_measures() {
    // Orphans of the measurement would become children of this process.
    prctl::set_child_subreaper(true).expect("allowed");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        for after in ["memory", "communication", "time-slicing"] {
            // Where the tests run in the background of a script, they inherit that SIGINT is
            // ignored.
            let mut child = Command::new("env")
                .arg("--default-signal=INT")
                .arg(std::env::current_exe().expect("this program"))
                .arg(MEASURE)
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program");
            let output = BufReader::new(child.stdout.take().expect("piped"));
            let mut lines = output.lines().map_while(Result::ok);
            assert!(lines.any(|line| line == after), "it never came to {after}");
            // It has processes by then: two of them at least, most of the time.
            kill(Pid::from_raw(child.id().cast_signed()), signal).expect("our child");
            child.wait().expect("our child");
            let deadline = Instant::now() + DEADLINE;
            loop {
                // Those that have died are reaped here.
                while let Ok(status) = nix::sys::wait::waitpid(
                    Pid::from_raw(-1),
                    Some(nix::sys::wait::WaitPidFlag::WNOHANG),
                ) {
                    if status == nix::sys::wait::WaitStatus::StillAlive {
                        break;
                    }
                }
                let left = children();
                if left.is_empty() {
                    break;
                }
                assert!(Instant::now() < deadline, "left after {signal}: {left:?}");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}
