//! A worker that ends again and again leaves nothing: no thread, no descriptor, no mapping, no
//! memory. One test, alone in its process, so that what it counts is its own.

mod live;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use live::{Live, until};
use nix::libc;
use workers::fault::Fault;
use workers::runtime::board::State;
use workers::runtime::mapping::Mapping;
use workers::runtime::run::OnPanic;
use workers::{Context, WorkerError};

const RESTARTS: u64 = 5000;
/// The first ones fill what is kept for the next.
const WARM_UP: u64 = 200;

type Run = fn(&Context) -> Result<(), WorkerError>;

/// A way to end, and how much memory each may leave.
struct Way {
    name: &'static str,
    run: Run,
    ending: Option<State>,
    bytes_each: usize,
}

const WAYS: &[Way] = &[
    Way { name: "returns", run: |_| Ok(()), ending: Some(State::Returned), bytes_each: 0 },
    Way {
        name: "panics",
        run: |context| panic!("number {} of this worker", context.generation()),
        ending: Some(State::Panicked),
        bytes_each: 0,
    },
    Way {
        name: "has a thread that panics",
        run: |context| {
            let _ = context.spawn("helper", |_| panic!("of a helper"))?.join();
            Ok(())
        },
        ending: Some(State::Panicked),
        bytes_each: 0,
    },
    Way {
        name: "leaves a thread behind, which ends after it",
        run: |context| {
            context.spawn("helper", Context::wait_for_stop)?;
            Ok(())
        },
        ending: Some(State::Returned),
        bytes_each: 0,
    },
    Way {
        name: "vanishes",
        run: |_| {
            Fault::Vanish.commit(0);
            Ok(())
        },
        ending: None,
        // What its stack and its thread locals owned, and the allocator's own cache of the thread:
        // nothing runs their destructors.
        bytes_each: 4096,
    },
    Way {
        name: "vanishes while it waits",
        run: |context| {
            context.wait_for_stop();
            Ok(())
        },
        ending: None,
        bytes_each: 4096,
    },
];

#[derive(Debug)]
struct Held {
    threads: usize,
    descriptors: usize,
    mappings: usize,
    bytes: usize,
}

fn held() -> Held {
    let count = |path| std::fs::read_dir(path).expect("/proc").count();
    // SAFETY: no arguments; it takes the locks of the allocator.
    let heap = unsafe { libc::mallinfo2() };
    Held {
        threads: count("/proc/self/task"),
        descriptors: count("/proc/self/fd"),
        mappings: std::fs::read_to_string("/proc/self/maps").expect("/proc").lines().count(),
        bytes: heap.uordblks + heap.hblkhd,
    }
}

fn restart(mapping: &Arc<Mapping>, way: &Way, generation: u64) {
    let output = OwnedFd::from(std::fs::File::create("/dev/null").expect("/dev/null"));
    let live = Live::on(mapping, generation, OnPanic::Contain, output, way.run);
    match way.ending {
        Some(state) => {
            live.thread.join();
            assert_eq!(live.reading().state, state, "{}", way.name);
        }
        None => {
            if way.name.ends_with("waits") {
                until("it to wait", || live.reading().waiting.map(|_| ()));
                live.commit(Fault::Vanish);
            }
            // As a supervisor sees it.
            until("its thread to be gone", || {
                let tid = live.reading().tid;
                let is_gone =
                    tid > 0 && !std::path::Path::new(&format!("/proc/self/task/{tid}")).exists();
                is_gone.then_some(())
            });
        }
    }
}

#[test]
fn restarts_leave_nothing() {
    // No output of theirs, which the test program keeps.
    workers::runtime::crash::install().expect("handlers");
    for way in WAYS {
        let mapping = Arc::new(Mapping::sealed("w").expect("a board"));
        for generation in 1..=WARM_UP {
            restart(&mapping, way, generation);
        }
        let before = held();
        for generation in WARM_UP + 1..=WARM_UP + RESTARTS {
            restart(&mapping, way, generation);
        }
        let name = way.name;
        // The last ones may still be on their way.
        let after = until("what they held", || {
            let after = held();
            (after.threads <= before.threads + 2).then_some(after)
        });
        println!("{name}: {before:?}, then {after:?}");
        let few = 16;
        assert!(after.descriptors <= before.descriptors + few, "{name}: {before:?} {after:?}");
        assert!(after.mappings <= before.mappings + few, "{name}: {before:?} {after:?}");
        let bytes = RESTARTS as usize * way.bytes_each + 64 * 1024;
        assert!(after.bytes <= before.bytes + bytes, "{name}: {before:?} {after:?}");
    }
}
