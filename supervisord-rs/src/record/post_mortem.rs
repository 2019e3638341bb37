//! The story that a black box tells. The file is hostile: cut off, overwritten, from another
//! version or another boot; whatever is in it, the result is well-formed or an error that says what
//! is wrong.
#![expect(unsafe_code, reason = "pages of the file are read as what they are")]

mod past_worker;

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use supervision::{Cause, Ending, Status};
use workers::runtime::board::{SIZE, monotonic_ns};

use super::black_box::{
    Account, Count, Counts, FILE, Header, MAGIC, PastCarried, binary, boot, in_page, page_of,
};
use super::culprit::{self, Suspect};
use super::evidence;
use crate::append;
use crate::service_manager;
pub use past_worker::{PastCulprit, PastWorker};

/// What is known of a dead supervisor.
#[derive(Debug)]
pub struct PostMortem {
    /// Whether it ended in order.
    pub is_clean: bool,
    /// Its process.
    pub pid: i32,
    /// When it died, in monotonic nanoseconds, if it had the time to say.
    pub died_at: Option<u64>,
    /// The number of its last incident; 0 for none.
    pub last_incident: u64,
    /// Its workers.
    pub workers: Vec<PastWorker>,
    /// Whether it gave way to us, which is no death.
    pub gave_way: bool,
    /// Whether it was stopping everything.
    pub was_stopping: bool,
    /// Whether it was of the very same binary.
    pub is_same_binary: bool,
    /// Output that was on its way.
    pub carried: Vec<PastCarried>,
    /// What had been counted over all supervisors.
    pub counts: Counts,
    signal: i32,
    /// Whether it had become the one that counts; when its supervisor began.
    published: Option<u64>,
}

/// Why a black box tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum BlackBoxError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a black box, or of another version.
    #[error(
        "{} is not a black box of this version; it was set aside as blackbox.bad", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is shorter than it says.
    #[error("{} is cut off after {length} bytes; it was set aside as blackbox.bad", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
}

/// A page of the file, aligned for what is read from it.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Page([u8; SIZE]);

impl PostMortem {
    /// Reads the black box of the predecessor. `None`: there was none, or it belongs to another
    /// boot of the machine. A bad one is set aside, so that it is complained of once.
    ///
    /// # Errors
    /// See [`BlackBoxError`]. Nothing is known then.
    pub fn read(runtime_dir: &Path) -> Result<Option<Self>, BlackBoxError> {
        let path = runtime_dir.join(FILE);
        let mut bytes = Vec::new();
        match append::open_regular(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                // It would block the new one.
                if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
                    let _ = fs::rename(&path, runtime_dir.join("blackbox.bad"));
                }
                return Err(BlackBoxError::Io { path, source });
            }
        }
        let story = Self::parse(&bytes, &path);
        if story.is_err() {
            let _ = fs::rename(&path, runtime_dir.join("blackbox.bad"));
        }
        story
    }

    /// The same, where descriptors of black boxes were kept, by name: the newest of them that
    /// counted is the truth, whatever lies in the directory.
    ///
    /// # Errors
    /// See [`BlackBoxError`]. Nothing is known then.
    pub fn read_kept(
        runtime_dir: &Path,
        kept: &[(String, OwnedFd)],
    ) -> Result<Option<Self>, BlackBoxError> {
        let mut newest: Option<Self> = None;
        let mut failed = None;
        for (name, descriptor) in kept {
            let path = runtime_dir.join(FILE);
            let read =
                whole(descriptor).map_err(|source| BlackBoxError::Io { path: name.into(), source });
            match read.and_then(|bytes| Self::parse(&bytes, &path)) {
                Ok(Some(story))
                    if story.published > newest.as_ref().and_then(|newest| newest.published) =>
                {
                    newest = Some(story);
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        match (newest, failed) {
            (Some(newest), _) => Ok(Some(newest)),
            (None, Some(error)) => {
                let _ = fs::rename(runtime_dir.join(FILE), runtime_dir.join("blackbox.bad"));
                Err(error)
            }
            (None, None) => Self::read(runtime_dir),
        }
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Option<Self>, BlackBoxError> {
        let truncated = || BlackBoxError::Truncated { path: path.into(), length: bytes.len() };
        let pages: Vec<Page> = bytes
            .chunks_exact(SIZE)
            .map(|chunk| {
                let mut page = Page([0; SIZE]);
                page.0.copy_from_slice(chunk);
                page
            })
            .collect();
        let first = pages.first().ok_or_else(truncated)?;
        // SAFETY: a page is larger than the header and aligned for it; every bit pattern is valid
        // for atomics.
        let header = unsafe { &*std::ptr::from_ref(first).cast::<Header>() };
        if header.magic.load(Ordering::Relaxed) != MAGIC {
            return Err(BlackBoxError::Foreign { path: path.into() });
        }
        // There may be more: room for workers that were not added.
        let workers = header.workers.load(Ordering::Relaxed) as usize;
        if pages.len() <= workers || !bytes.len().is_multiple_of(SIZE) {
            return Err(truncated());
        }
        if header.boot.load(Ordering::Relaxed) != boot() {
            return Ok(None);
        }
        let now = monotonic_ns();
        let died_at =
            Some(header.died_at.load(Ordering::Relaxed)).filter(|&at| at != 0 && at <= now);
        Ok(Some(Self {
            is_clean: header.is_clean.load(Ordering::Relaxed) == 1,
            pid: header.pid.load(Ordering::Relaxed),
            died_at,
            last_incident: header.last_incident.load(Ordering::Relaxed).min(u64::from(u32::MAX)),
            workers: pages[1..=workers]
                .iter()
                .enumerate()
                .filter_map(|(index, page)| PastWorker::read(page, account(&pages, header, index)))
                .collect(),
            gave_way: header.gives_way.load(Ordering::Relaxed) == 1,
            was_stopping: header.is_stopping.load(Ordering::Relaxed) == 1,
            is_same_binary: header.binary.load(Ordering::Relaxed) == binary() && binary() != 0,
            carried: header.carried.iter().map(PastCarried::read).collect(),
            counts: Counts::read(header),
            signal: header.signal.load(Ordering::Relaxed),
            published: (header.is_published.load(Ordering::Relaxed) == 1)
                .then(|| header.started_at.load(Ordering::Relaxed)),
        }))
    }

    /// Events about past incarnations that had been heard.
    #[must_use]
    pub fn stale_events(&self) -> u64 {
        self.counts.get(Count::StaleEvents)
    }

    /// Whose doing it was, as in any domain.
    #[must_use]
    pub fn culprit(&self, seen: Option<service_manager::Predecessor>) -> Option<PastCulprit<'_>> {
        let status = self.status(seen);
        // A worker with a process of its own cannot end the supervisor.
        let threads = || self.workers.iter().filter(|worker| worker.reading.is_some());
        let running = threads().filter(|worker| worker.was_running()).map(|worker| Suspect {
            who: PastCulprit::running(worker),
            reading: worker.own_reading(),
            struck_by: worker.signal_ordered(),
        });
        let past = threads().filter_map(|worker| {
            let reading = worker.words_of_past().filter(|it| culprit::leads_to(it, status))?;
            let who = PastCulprit::past(worker, reading);
            Some(Suspect { who, reading: Some(reading), struck_by: None })
        });
        culprit::culprit(running.chain(past), status)
    }

    /// What the guardian saw, else what the last words say.
    fn status(&self, seen: Option<service_manager::Predecessor>) -> Status {
        let seen = seen.filter(|seen| seen.pid == self.pid).map(|seen| seen.ending);
        match seen {
            Some(service_manager::Ending::Exited(code)) => Status::Exited(code),
            Some(service_manager::Ending::Signaled(signal)) => {
                Status::Signaled { signal, core_dumped: false }
            }
            None if self.signal > 0 && self.signal <= 64 => {
                Status::Signaled { signal: self.signal, core_dumped: false }
            }
            None => Status::Unknown,
        }
    }

    /// How the supervisor ended: what the guardian saw, else what the last words say.
    #[must_use]
    pub fn ending(&self, seen: Option<service_manager::Predecessor>) -> Ending {
        let status = self.status(seen);
        let reading = self.culprit(seen).and_then(|culprit| culprit.worker.reading.as_ref());
        match status {
            Status::Unknown if reading.is_none() => Ending { status, cause: Cause::Unknown },
            Status::Exited(_)
            | Status::Signaled { .. }
            | Status::Returned
            | Status::Failed
            | Status::Panicked
            | Status::Abandoned
            | Status::NotLaunched(_)
            | Status::Unknown => evidence::of_domain(status, reading),
        }
    }
}

/// How a worker ended last, in words, where there is a place for that.
fn account<'a>(pages: &'a [Page], header: &Header, worker: usize) -> Option<&'a Account> {
    let first = header.accounts.load(Ordering::Relaxed) as usize;
    let page = pages.get(first.checked_add(page_of(worker))?).filter(|_| first > 0)?;
    Some(in_page(page, worker))
}

/// From the beginning: earlier holders share the position.
fn whole(descriptor: &OwnedFd) -> io::Result<Vec<u8>> {
    let file = fs::File::from(descriptor.try_clone()?);
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::black_box::{BlackBox, ProcessMark};
    use std::time::Duration;

    use supervision::{Checkpoint, Generation, Phase};
    use workers::runtime::board::LastWords;

    use super::*;

    /// Of a worker that was never launched.
    fn checkpoint() -> Checkpoint {
        Checkpoint {
            phase: Phase::Idle,
            generation: Generation(0),
            since: Duration::ZERO,
            due: None,
            restarts: 0,
            attempt: 0,
            failures: Vec::new(),
            order: None,
            marks: supervision::Marks::default(),
            abandoned: 0,
            last_ending: None,
            last_incident: None,
            injected: None,
            injections: Vec::new(),
            group_failures: Vec::new(),
            losses: Vec::new(),
        }
    }

    fn recorded(directory: &Path) -> Vec<u8> {
        let black_box = BlackBox::create(directory, &["a", "b"], 0).unwrap();
        for worker in 0..2 {
            let mapping = black_box.mapping();
            let board = mapping.nth(black_box.page(worker));
            board.begin(["a", "b"][worker], 7);
            board.progress.store(40 + worker as u64, Ordering::Relaxed);
            let note = black_box.note(worker);
            note.begin_launch();
            note.set_process(7, ProcessMark { pid: 42, start_time: 5 }, None);
            let failures = [1, 2, 3].map(Duration::from_nanos).to_vec();
            note.remember(&Checkpoint {
                phase: Phase::Running,
                generation: Generation(7),
                failures,
                ..checkpoint()
            });
        }
        black_box.publish().unwrap();
        let mapping = black_box.mapping();
        mapping.nth(black_box.page(1)).write_last_words(LastWords::Signal, 11, 1, 0x10, 99);
        black_box.set_last_incident(5);
        fs::read(directory.join(FILE)).unwrap()
    }

    #[test]
    fn a_black_box_tells_who_was_there_and_whose_doing_it_was() {
        let directory = tempfile::tempdir().unwrap();
        recorded(directory.path());
        let story = PostMortem::read(directory.path()).unwrap().unwrap();
        assert!(!story.is_clean);
        assert_eq!((story.pid, story.last_incident), (std::process::id() as i32, 5));
        let culprit = story.culprit(None).unwrap();
        assert_eq!((culprit.generation, culprit.is_past), (Generation(7), false));
        let culprit = culprit.worker;
        assert_eq!((culprit.name.as_str(), culprit.progress), ("b", 41));
        assert_eq!(culprit.checkpoint.failures, [1, 2, 3].map(Duration::from_nanos));
        assert_eq!(culprit.process, Some((ProcessMark { pid: 42, start_time: 5 }, None)));
        assert_eq!(story.ending(None).cause, Cause::Segfault);
    }

    #[test]
    fn a_thread_that_died_before_its_launch_was_answered_did_run() {
        let directory = tempfile::tempdir().unwrap();
        let black_box = BlackBox::create(directory.path(), &["ran", "was-not-begun"], 0).unwrap();
        for worker in 0..2 {
            let checkpoint =
                Checkpoint { phase: Phase::Launching, generation: Generation(3), ..checkpoint() };
            black_box.note(worker).remember(&checkpoint);
            black_box.mapping().nth(black_box.page(worker)).begin("any", 3 - worker as u64);
        }
        black_box.publish().unwrap();
        black_box.mapping().nth(black_box.page(0)).write_last_words(LastWords::Panic, 0, 0, 0, 99);
        let story = PostMortem::read(directory.path()).unwrap().unwrap();
        let phases: Vec<Phase> =
            story.workers.iter().map(|worker| worker.checkpoint.phase).collect();
        assert_eq!(phases, [Phase::Starting, Phase::Launching]);
        assert_eq!(story.culprit(None).map(|culprit| culprit.worker.name.as_str()), Some("ran"));
    }

    #[test]
    fn what_was_counted_and_what_an_incident_lost_is_known_to_a_successor() {
        let directory = tempfile::tempdir().unwrap();
        let black_box = BlackBox::create(directory.path(), &["a", "b"], 0).unwrap();
        black_box.counter(Count::LostRecords).add(1);
        black_box.counter(Count::DroppedHooks).add(3);
        black_box.set_stale_events(7);
        black_box.note(1).remember(&Checkpoint { generation: Generation(7), ..checkpoint() });
        black_box.note(1).set_incident_work(5, (40, 2));
        black_box.publish().unwrap();
        let story = PostMortem::read(directory.path()).unwrap().expect("a story");
        let counted = Count::ALL.map(|count| story.counts.get(count));
        assert_eq!((counted, story.stale_events()), ([1, 0, 3, 7], 7));
        let successor = BlackBox::create(directory.path(), &["a", "b"], 0).unwrap();
        assert_eq!(successor.counter(Count::StaleEvents).get(), 0, "another one, and empty");
        assert_eq!(successor.note(1).incident_work(), None);
        successor.carry_counts(story.counts);
        assert_eq!(successor.counter(Count::StaleEvents).get(), 7);
        assert_eq!(successor.counter(Count::DroppedHooks).get(), 3);
        assert_eq!(story.workers[1].incident_work, Some((5, (40, 2))));
        assert_eq!(story.workers[0].incident_work, None);
    }

    #[test]
    fn a_truncated_black_box_is_said_and_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = recorded(directory.path());
        for length in [0, 1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE, 3 * SIZE - 1] {
            fs::write(directory.path().join(FILE), &bytes[..length]).unwrap();
            let error = PostMortem::read(directory.path()).unwrap_err();
            assert!(matches!(error, BlackBoxError::Truncated { .. }), "{length}: {error}");
            assert!(directory.path().join("blackbox.bad").exists());
            assert!(PostMortem::read(directory.path()).unwrap().is_none(), "{length}");
        }
    }

    #[test]
    fn garbage_never_panics_and_never_makes_nonsense() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = recorded(directory.path());
        let mut state = 0x1234_5678_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..5000 {
            let mut bad = bytes.clone();
            for _ in 0..random() % 32 {
                let index = random() as usize % bad.len();
                bad[index] = random() as u8;
            }
            if let Ok(Some(story)) = PostMortem::parse(&bad, Path::new("x")) {
                let now = monotonic_ns();
                assert!(story.died_at.is_none_or(|at| at <= now));
                let _ =
                    (story.culprit(None).map(|culprit| &culprit.worker.name), story.ending(None));
            }
        }
    }
}
