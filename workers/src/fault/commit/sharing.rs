//! Faults in what workers share: each strikes the first resource of its kind in the worker's
//! `uses:`. A worker that uses none of that kind dies all the same, or is left alone, and its output
//! says so.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{Scene, kill_self};
use crate::context::Context;
use crate::shared::{Condition, Error, Holder, Kind, Mutex, Segment, Wait};

/// For others to leave what it is to die with.
const PATIENCE: Duration = Duration::from_secs(1);

/// Dies with a mutex, within a change or outside of one.
pub(super) fn die_with_lock(scene: &Scene<'_>, is_within_change: bool) {
    let Some(mutex) = opened(scene, Kind::Mutex, Mutex::open) else { return kill_self() };
    match mutex.lock(&Wait::at_most(PATIENCE)) {
        Ok(locked) => {
            let mut guard = locked.carry_on();
            if is_within_change {
                guard.change(kill_self);
            }
            kill_self();
        }
        Err(error) => kill_after(scene, &error),
    }
}

/// Dies with a message that it has taken, of its own if there is no other.
pub(super) fn die_with_message(scene: &Scene<'_>) {
    let Some(queue) = found(scene, Kind::Queue, Context::first_queue) else {
        return kill_self();
    };
    let taken = queue.take(&Wait::none()).or_else(|_| {
        queue.send(b"0", &Wait::none())?;
        queue.take(&Wait::at_most(PATIENCE))
    });
    match taken {
        Ok(_message) => kill_self(),
        Err(error) => kill_after(scene, &error),
    }
}

/// Dies while it sends: half of the message is in the ring, and nothing of it in what the kernel
/// carries.
pub(super) fn die_sending(scene: &Scene<'_>) {
    let Some(queue) = found(scene, Kind::Queue, Context::first_queue) else {
        return kill_self();
    };
    let message = vec![0; queue.size().message];
    if let Err(error) = queue.send_but(&message, &Wait::at_most(PATIENCE), kill_self) {
        kill_after(scene, &error);
    }
}

/// Dies while it waits for a condition. Its mutex is free then, and a signal may have been for it.
pub(super) fn die_waiting(scene: &Scene<'_>) {
    let condition = opened(scene, Kind::Condition, |fd, _| Condition::open(fd));
    let mutex = opened(scene, Kind::Mutex, Mutex::open);
    let (Some(condition), Some(mutex)) = (condition, mutex) else { return kill_self() };
    let Ok(segment) = condition.fd().try_clone_to_owned().map_err(Error::of("fcntl")) else {
        return kill_self();
    };
    let Ok(segment) = Segment::adopt(segment) else { return kill_self() };
    let killer = std::thread::Builder::new().name("killer".into()).spawn(move || {
        let end = std::time::Instant::now() + PATIENCE;
        while segment.waiters().is_empty() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        kill_self();
    });
    if killer.is_ok()
        && let Ok(locked) = mutex.lock(&Wait::at_most(PATIENCE))
    {
        let _ = condition.wait(&mutex, locked.carry_on(), &Wait::at_most(PATIENCE));
    }
    kill_self();
}

/// Makes its memory shorter: the seal refuses that, and no other has a hole in its memory. Memory
/// with a name has no seal.
pub(super) fn truncate_region(scene: &Scene<'_>) {
    let Some(fd) = found(scene, Kind::Region, Context::first_memory) else { return };
    match nix::unistd::ftruncate(&fd, 0) {
        Ok(()) => say(scene, "its region was truncated"),
        Err(errno) => say(scene, &format!("its region cannot be truncated: {}", errno.desc())),
    }
}

/// Writes over all of a queue but its header: indices, states, lengths, messages.
pub(super) fn scribble_queue(scene: &Scene<'_>) {
    let segment = first(scene, Kind::Queue).map(Segment::adopt);
    let Some(Ok(segment)) = segment else { return };
    segment.scribble(0x55);
    say(scene, "its queue was written over");
}

/// Has a mutex from now on, until its thread ends.
pub(super) fn keep_lock(scene: &Scene<'_>) {
    let Some(mutex) = opened(scene, Kind::Mutex, Mutex::open) else { return };
    match mutex.lock(&Wait::at_most(PATIENCE)) {
        Ok(locked) => {
            std::mem::forget(locked.carry_on());
            say(scene, "it keeps its mutex");
        }
        Err(error) => say(scene, &error.to_string()),
    }
}

fn kill_after(scene: &Scene<'_>, error: &Error) {
    say(scene, &format!("it dies without: {error}"));
    kill_self();
}

fn say(scene: &Scene<'_>, text: &str) {
    if let Some(context) = scene.context {
        context.shared().write_line(text);
    }
}

/// The first resource of this kind that the worker uses.
fn first(scene: &Scene<'_>, kind: Kind) -> Option<OwnedFd> {
    found(scene, kind, |context| context.first_of(kind))
}

fn found<T>(scene: &Scene<'_>, kind: Kind, find: impl FnOnce(&Context) -> Option<T>) -> Option<T> {
    let found = scene.context.and_then(find);
    if found.is_none() {
        say(scene, &format!("it uses no {kind:?}").to_lowercase());
    }
    found
}

fn opened<T>(
    scene: &Scene<'_>,
    kind: Kind,
    open: impl FnOnce(OwnedFd, Holder) -> Result<T, Error>,
) -> Option<T> {
    let fd = first(scene, kind)?;
    open(fd, Holder::this_thread().ok()?).ok()
}
