//! What the threads do besides carrying output. Nothing here waits for a target that hangs: what
//! needs its turn is left with the target, and does without after a while.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Pool;
use crate::record::logs::staging_pipe::StagingPipe;
use crate::record::logs::stream::{Run, Stream, Upkeep};
use crate::record::logs::target::Target;
use crate::record::logs::turn::Deferred;
use crate::record::logs::{Tail, lock, rotated};

/// How long the last lines of a worker wait for a target that another thread writes to.
const TURN_WAIT: Duration = Duration::from_secs(1);
/// Longer than anything waits.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// So many files may wait to be compressed before the log says so.
const BEHIND_MAX: usize = 3;

/// Something to do.
#[derive(Debug)]
pub(in crate::record::logs) enum Job {
    /// The last lines of some streams; `lines`: of those that were looked at already.
    Tail {
        streams: Vec<(Run, Arc<Stream>)>,
        lines: Vec<String>,
        tail: Tail,
        end: Instant,
    },
    /// What a predecessor left.
    Carry(u32),
    /// Takes all that is there, then forgets the stream.
    Close(u32, Instant),
    Reopen,
    Compress(Arc<Target>),
    Weigh,
    /// Takes all that is there, and says so.
    Flush {
        streams: Vec<Arc<Stream>>,
        done: Sender<()>,
        end: Instant,
    },
}

impl Job {
    /// Whether others should not wait for it.
    pub(super) fn takes_long(&self) -> bool {
        match self {
            Self::Compress(_) | Self::Weigh | Self::Reopen => true,
            Self::Tail { .. } | Self::Carry(_) | Self::Close(..) | Self::Flush { .. } => false,
        }
    }

    pub(in crate::record::logs) fn tail(streams: Vec<(Run, Arc<Stream>)>, tail: Tail) -> Self {
        Self::Tail { streams, lines: Vec::new(), tail, end: Instant::now() + TURN_WAIT }
    }

    pub(in crate::record::logs) fn close(id: u32) -> Self {
        Self::Close(id, Instant::now() + TURN_WAIT)
    }

    pub(in crate::record::logs) fn flush(streams: Vec<Arc<Stream>>, done: Sender<()>) -> Self {
        Self::Flush { streams, done, end: Instant::now() + TURN_WAIT }
    }
}

impl Pool {
    pub(super) fn do_job(self: &Arc<Self>, job: Job, staging: &mut StagingPipe) {
        match job {
            Job::Tail { streams, lines, tail, end } => {
                self.tail(streams, lines, tail, end, staging)
            }
            Job::Carry(id) => self.carry_past(id, staging),
            Job::Close(id, end) => self.close(id, end, staging),
            Job::Reopen => self.reopen(),
            Job::Compress(target) => self.compress(&target),
            Job::Weigh => self.keep_to_cap(),
            Job::Flush { streams, done, end } => self.flush(streams, done, end, staging),
        }
    }

    /// Leaves a job with the target of a stream. True: it has to do without.
    fn has_to_do_without(&self, stream: &Stream, job: Job, end: Instant) -> bool {
        let number = self.parked.keep(job);
        match stream.target().turn.defer(number, end) {
            Deferred::Waits => false,
            Deferred::Again => {
                self.give_parked(number);
                false
            }
            Deferred::Without => {
                drop(self.parked.take(number));
                true
            }
        }
    }

    /// Where a target hangs, only what we remember.
    fn tail(
        self: &Arc<Self>,
        mut streams: Vec<(Run, Arc<Stream>)>,
        mut lines: Vec<String>,
        tail: Tail,
        end: Instant,
        staging: &mut StagingPipe,
    ) {
        while let Some((run, stream)) = streams.first().cloned() {
            if let Some(last) =
                self.carry_now(&stream, staging, |target| stream.last_lines(run, Some(target)))
            {
                lines.extend(last);
            } else {
                let (streams, lines_now, tail) =
                    (streams.clone(), lines.clone(), Arc::clone(&tail));
                let job = Job::Tail { streams, lines: lines_now, tail, end };
                if !self.has_to_do_without(&stream, job, end) {
                    return;
                }
                lines.extend(stream.last_lines(run, None));
            }
            streams.remove(0);
        }
        let _ = tail.set(lines);
        let _ = self.wakeup.write(1);
    }

    /// Streams that waited for it, since it comes first, go on.
    fn carry_past(self: &Arc<Self>, id: u32, staging: &mut StagingPipe) {
        let Some(stream) = self.stream(id) else { return };
        let target = stream.target();
        if self.carry_now(&stream, staging, |_| ()).is_none() {
            self.has_to_do_without(&stream, Job::Carry(id), Instant::now() + FOR_EVER);
            return;
        }
        for (id, other) in (0..).zip(self.slots()) {
            if let Some(other) = other.filter(|other| Arc::ptr_eq(&other.target(), &target)) {
                other.busy_since.store(0, Ordering::Relaxed);
                self.arm(id, &other);
            }
        }
    }

    fn close(self: &Arc<Self>, id: u32, end: Instant, staging: &mut StagingPipe) {
        let Some(stream) = self.stream(id) else { return };
        if self.carry_now(&stream, staging, |_| ()).is_none() {
            if !self.has_to_do_without(&stream, Job::Close(id, end), end) {
                return;
            }
            stream.discard();
        }
        let _ = self.epoll.delete(stream.pipe());
        // If it is opened again, its counts start again.
        self.lost_by_closed.add(stream.losses.lost().swap(0, Ordering::Relaxed));
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = streams.get_mut(id as usize) {
            *slot = None;
        }
    }

    fn flush(
        self: &Arc<Self>,
        streams: Vec<Arc<Stream>>,
        done: Sender<()>,
        end: Instant,
        staging: &mut StagingPipe,
    ) {
        // First all streams whose target is free: one that hangs must not cost others their last
        // lines.
        let mut rest = streams;
        rest.retain(|stream| self.carry_now(stream, staging, |_| ()).is_none());
        while let Some(stream) = rest.first().cloned() {
            let job = Job::Flush { streams: rest.clone(), done: done.clone(), end };
            if !self.has_to_do_without(&stream, job, end) {
                return;
            }
            rest.remove(0);
        }
        let _ = done.send(());
    }

    /// Closes files that no thread writes to now; the others are closed before their next write.
    fn reopen(&self) {
        self.targets().reopen();
        for target in self.targets().files() {
            if target.turn.take() {
                if let Some(file) = target.file.as_ref() {
                    lock(file).close();
                }
                self.give_back(&target);
            }
        }
    }

    /// One file after the other, beside the rotation, which does not wait for it: a worker that
    /// writes faster than this compresses has uncompressed files, at most as many as are kept.
    fn compress(self: &Arc<Self>, target: &Arc<Target>) {
        let path = target.path();
        target.has_plain.store(false, Ordering::SeqCst);
        let keep = target.compressed().unwrap_or(0);
        let is_more = match rotated::compress_oldest(&path, keep, &target.naming) {
            Ok(None) => false,
            Ok(Some(packed)) => {
                target.note_behind(packed, BEHIND_MAX, || self.writers(target));
                packed.left > 0
            }
            Err(error) => {
                let workers = self.writers(target);
                let path = path.display();
                tracing::warn!(workers, %path, %error,
                    "a rotated log of {workers} stays uncompressed");
                false
            }
        };
        target.is_compressing.store(false, Ordering::SeqCst);
        if is_more || target.has_plain.load(Ordering::SeqCst) {
            self.after_rotation(target);
        } else if self.cap.is_some() {
            self.give(Job::Weigh);
        }
    }

    /// Removes the oldest rotated files until all together are within the cap. Where that is not
    /// enough, it rotates the largest present one too.
    fn keep_to_cap(&self) {
        let Some(cap) = self.cap else { return };
        // One thread at a time: a directory that hangs holds no more.
        if self.is_weighing.swap(true, Ordering::SeqCst) {
            return;
        }
        let targets = self.targets().files();
        let paths: Vec<_> = targets.iter().map(|target| target.path()).collect();
        let size = |path: &std::path::PathBuf| {
            std::fs::metadata(path).map_or(0, |metadata| metadata.len())
        };
        let mut present: Vec<_> = paths.iter().map(size).zip(&targets).collect();
        present.sort_by_key(|(size, _)| *size);
        while rotated::keep_to_cap(&paths, cap) > cap {
            let Some((_, target)) = present.pop() else { break };
            // One that hangs is not waited for.
            if let Some(Ok(mut file)) = target.file.as_ref().map(|file| file.try_lock()) {
                let _named = lock(&target.naming);
                let _ = file.rotate();
            }
        }
        self.is_weighing.store(false, Ordering::SeqCst);
    }
}
