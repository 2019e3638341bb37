//! What crash safety costs between processes, each beside its bare limit in the same run, in turns:
//! ratios carry over to other machines, times do not. Of the rounds the fastest tenth counts:
//! others were interrupted.
//!
//! `cargo bench -p supervisord-rs --bench shared`

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use workers::shared::{Holder, Mutex, Queue, QueueSize, Topic, Wait};

fn main() {
    // `cargo test --benches` runs it too: a few rounds show that it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, size) = if is_bench { (60, 20) } else { (2, 1) };
    println!("| {:<44} | shared | bare | ratio | goal |", "nanoseconds, of rounds in turns");
    println!("|{:-<46}|--------|------|-------|------|", "");
    let bytes = |length| format!("topic, read of {length} B / memcpy");
    row("mutex, lock + unlock / plain pthread", "<= 1.5", rounds, mutex, plain_mutex, 2000 * size);
    row("mutex, lock + unlock / robust pthread", "", rounds, mutex, robust_mutex, 2000 * size);
    row(
        "queue, round trip of 8 B / futex ping-pong",
        "<= 1.3",
        rounds,
        queue_trip,
        futex_trip,
        50 * size,
    );
    row(
        "queue, message of 1 KiB / pipe",
        "<= 0.33",
        rounds,
        queue_stream,
        pipe_stream,
        2000 * size,
    );
    for length in [64, 256, 1024, 4096] {
        let topic = |count| topic_read(length, count);
        row(&bytes(length), "<= 2", rounds, topic, |count| copy(length, count), 2000 * size);
    }
}

/// Both in turns; each returns what one operation of so many took.
fn row(
    name: &str,
    goal: &str,
    rounds: usize,
    shared: impl Fn(usize) -> f64,
    bare: impl Fn(usize) -> f64,
    count: usize,
) {
    let (mut first, mut second): (Vec<f64>, Vec<f64>) =
        (0..rounds).map(|_| (shared(count), bare(count))).unzip();
    let fast = |list: &mut Vec<f64>| {
        list.sort_by(f64::total_cmp);
        list[list.len() / 10]
    };
    let (first, second) = (fast(&mut first), fast(&mut second));
    let ratio = first / second;
    println!("| {name:<44} | {first:6.1} | {second:6.1} | {ratio:4.2} | {goal} |");
}

fn here() -> Holder {
    Holder::this_thread().expect("/proc")
}

fn each(count: usize, mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..count).for_each(|_| work());
    begun.elapsed().as_nanos() as f64 / count as f64
}

/// A process that does this and ends.
fn beside(work: impl FnOnce()) -> Pid {
    // SAFETY: no other thread runs in this program, so that the child may do what its parent may.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            work();
            // SAFETY: without what the parent has registered to be done at its exit.
            unsafe { libc::_exit(0) }
        }
    }
}

fn mutex(count: usize) -> f64 {
    let mutex = Mutex::create(here()).expect("made");
    let wait = Wait::none();
    each(count, || drop(mutex.lock(&wait).expect("free")))
}

fn pthread(is_robust: bool, count: usize) -> f64 {
    let page = anonymous();
    let raw = page.as_ptr().cast_mut().cast::<libc::pthread_mutex_t>();
    // SAFETY: the page is this function's, long enough and aligned; zeros are a valid attribute
    // until it is initialized.
    unsafe {
        let mut attributes = std::mem::zeroed();
        libc::pthread_mutexattr_init(&raw mut attributes);
        libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
        if is_robust {
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
        }
        libc::pthread_mutex_init(raw, &raw const attributes);
    }
    // SAFETY: initialized above.
    each(count, || unsafe {
        libc::pthread_mutex_lock(raw);
        libc::pthread_mutex_unlock(raw);
    })
}

fn plain_mutex(count: usize) -> f64 {
    pthread(false, count)
}

fn robust_mutex(count: usize) -> f64 {
    pthread(true, count)
}

/// A page that children share.
fn anonymous() -> &'static [AtomicU32; 1024] {
    let length = NonZeroUsize::new(4096).expect("not 0");
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping of zeros, which are valid atomics; it is never unmapped.
    unsafe {
        mmap_anonymous(None, length, access, MapFlags::MAP_SHARED).expect("memory").cast().as_ref()
    }
}

const LONG: Duration = Duration::from_secs(60);

fn queue(capacity: usize, message: usize) -> Queue {
    Queue::create(QueueSize { capacity, message, users: 4 }, here()).expect("made")
}

fn queue_trip(count: usize) -> f64 {
    let (there, back) = (queue(4, 8), queue(4, 8));
    let hop = |from: &Queue, to: &Queue, wait: &Wait<'_>| {
        let message = from.take(wait).expect("in time");
        let mut bytes = [0; 8];
        message.copy_into(&mut bytes);
        message.acknowledge().expect("taken");
        to.send(&bytes, wait).expect("room");
    };
    let child = beside(|| {
        let (there, back) =
            (there.for_holder(here()).expect("a place"), back.for_holder(here()).expect("a place"));
        let wait = Wait::at_most(LONG);
        (0..count).for_each(|_| hop(&there, &back, &wait));
    });
    let wait = Wait::at_most(LONG);
    let time = each(count, || {
        there.send(&[1; 8], &wait).expect("room");
        back.take(&wait).expect("in time").acknowledge().expect("taken");
    });
    waitpid(child, None).expect("our child");
    time
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    // SAFETY: the word lives as long as the program; without a time limit.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, 0) };
}

/// The bare limit: one word each way, one wake-up and one sleep.
fn futex_trip(count: usize) -> f64 {
    let page = anonymous();
    let (there, back) = (&page[0], &page[64]);
    let give = |word: &AtomicU32| {
        word.store(1, Ordering::Release);
        futex(word, libc::FUTEX_WAKE, 1);
    };
    let take = |word: &AtomicU32| {
        while word.swap(0, Ordering::Acquire) == 0 {
            futex(word, libc::FUTEX_WAIT, 0);
        }
    };
    let child = beside(|| {
        (0..count).for_each(|_| {
            take(there);
            give(back);
        });
    });
    let time = each(count, || {
        give(there);
        take(back);
    });
    waitpid(child, None).expect("our child");
    time
}

fn queue_stream(count: usize) -> f64 {
    let queue = queue(64, 1024);
    let child = beside(|| {
        let queue = queue.for_holder(here()).expect("a place");
        let (wait, mut bytes) = (Wait::at_most(LONG), [0; 1024]);
        for _ in 0..count {
            let message = queue.take(&wait).expect("in time");
            message.copy_into(&mut bytes);
            message.acknowledge().expect("taken");
        }
    });
    let wait = Wait::at_most(LONG);
    let begun = Instant::now();
    (0..count).for_each(|_| queue.send(&[7; 1024], &wait).expect("room"));
    waitpid(child, None).expect("our child");
    begun.elapsed().as_nanos() as f64 / count as f64
}

/// With the size that a pipe has: 64 messages of 1 KiB.
fn pipe_stream(count: usize) -> f64 {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let child = beside(|| {
        let mut bytes = [0; 1024];
        (0..count).for_each(|_| reader.read_exact(&mut bytes).expect("a message"));
    });
    let begun = Instant::now();
    (0..count).for_each(|_| writer.write_all(&[7; 1024]).expect("room"));
    waitpid(child, None).expect("our child");
    begun.elapsed().as_nanos() as f64 / count as f64
}

fn topic_read(length: usize, count: usize) -> f64 {
    let topic = Topic::create(length, here()).expect("made");
    topic.publish(&vec![7; length], &Wait::none()).expect("published");
    let mut bytes = vec![0; length];
    each(count, || {
        topic.read(&mut bytes).expect("not too fast");
        std::hint::black_box(&mut bytes);
    })
}

fn copy(length: usize, count: usize) -> f64 {
    let source: Vec<AtomicU8> = (0..length).map(|_| AtomicU8::new(7)).collect();
    let mut bytes = vec![0_u8; length];
    each(count, || {
        let (from, length) = std::hint::black_box((source.as_ptr(), length));
        // SAFETY: nothing writes the source, and both are that long.
        unsafe { std::ptr::copy_nonoverlapping(from.cast(), bytes.as_mut_ptr(), length) };
        std::hint::black_box(&mut bytes);
    })
}
