//! The cgroup of one process and all that it starts: where the next is born, and who lives in it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::events::Events;
use super::refusal::Refusal;
use super::tree::{Access, Extent};
use super::{CHANGES, Root, SERIAL, frozen, limits, place, tree};
use crate::config::settings::CgroupLimits;
use crate::process_table;

/// So many cgroups below a leaf are looked at in the loop.
const AT_ONCE: usize = 32;

/// The cgroup of one process and all that it starts.
#[derive(Debug)]
pub(in crate::isolation) struct Leaf {
    root: Arc<Root>,
    limits: CgroupLimits,
    first: PathBuf,
    present: Mutex<Present>,
    /// Held while it is made: two processes may be born in it at once.
    making: Mutex<()>,
    /// Those that were given up, and are still there: one that is dying holds a cgroup.
    given_up: GivenUp,
    /// Whether it could not be made for the first process, which was born elsewhere: then its
    /// process tree is found without it.
    is_missing: AtomicBool,
}

/// Where it is now.
#[derive(Clone, Debug)]
pub(super) struct Present {
    path: PathBuf,
    serial: u32,
    state: State,
    /// How it was made; `None`: by a predecessor.
    access: Option<Access>,
    /// The count of the OOM killer at the last question.
    oom_kills: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is not made yet. One that is there is a predecessor's, which was killed.
    Planned,
    Made,
    /// Those who lived in it are gone.
    Vacant,
    /// It was killed: no process can start in it any more (see `trial`).
    Spent,
}

/// Who is to be born in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) enum Newcomer {
    /// One that comes when nothing is left of what was there before: another cgroup may take the
    /// place of the present one for it.
    First,
    /// A helper of those that live in it. It never moves the leaf: those that live, or die, in the
    /// present one would be lost sight of, and their successor would be started beside them.
    Another,
}

/// Where the next process is to be born.
struct Placed {
    birthplace: OwnedFd,
    /// Whether it is known that a process that is born there runs.
    runs: bool,
}

impl Present {
    pub(super) const fn planned(path: PathBuf) -> Self {
        Self { path, serial: 0, state: State::Planned, access: None, oom_kills: 0 }
    }

    pub(super) const fn at(path: PathBuf, serial: u32) -> Self {
        Self { path, serial, state: State::Made, access: None, oom_kills: 0 }
    }
}

impl Leaf {
    pub(super) fn new(
        root: &Arc<Root>,
        limits: &CgroupLimits,
        first: PathBuf,
        present: Present,
    ) -> Self {
        Self {
            root: Arc::clone(root),
            limits: limits.clone(),
            first,
            present: Mutex::new(present),
            making: Mutex::default(),
            given_up: GivenUp::default(),
            is_missing: AtomicBool::new(false),
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::isolation) fn path(&self) -> PathBuf {
        self.present().path.clone()
    }

    /// It is killed, or about to be: the next process is born in another one.
    pub(in crate::isolation) fn spend(&self) {
        self.present().state = State::Spent;
    }

    /// Those who lived in it are gone: the next one that is born there is the first again.
    pub(in crate::isolation) fn vacate(&self) {
        let mut present = self.present();
        if present.state == State::Made {
            present.state = State::Vacant;
        }
    }

    /// Ends all that was born in it with a [helper](Newcomer::Another) after those who lived there
    /// were gone: where that was seen too late for the helper, this sees the helper. False: they
    /// still live. May wait, as [`directory`](Self::directory).
    pub(in crate::isolation) fn end_latecomers(&self) -> bool {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.present().state;
        let are_late = matches!(state, State::Vacant | State::Spent);
        if are_late {
            self.spend();
            let _ = self.members().kill();
        }
        are_late
    }

    /// Whether its process tree is found without it.
    pub(in crate::isolation) fn is_missing(&self) -> bool {
        self.is_missing.load(Ordering::SeqCst)
    }

    /// To be born in it, with its limits in force. One that was killed is empty by now, and another
    /// takes its place. `None`: it could not be made for the first process, and limits nothing. May
    /// wait: the kernel has one lock for changes of all cgroups.
    ///
    /// # Errors
    /// What to do about it; for a [helper](Newcomer::Another) of those that are being killed, that
    /// they are.
    pub(in crate::isolation) fn directory(
        &self,
        newcomer: Newcomer,
    ) -> Result<Option<OwnedFd>, Refusal> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_missing() {
            return Ok(None);
        }
        let Placed { birthplace, runs } = match self.place(newcomer) {
            Err(refusal) if self.limits.is_empty() && self.present().state == State::Planned => {
                tracing::debug!(%refusal, path = %self.first.display(), "no cgroup");
                self.is_missing.store(true, Ordering::SeqCst);
                return Ok(None);
            }
            placed => placed?,
        };
        drop(making);
        self.enforce()?;
        if !runs && let Some(refusal) = self.frozen() {
            return Err(refusal);
        }
        Ok(Some(birthplace))
    }

    /// Where the next process is born.
    fn place(&self, newcomer: Newcomer) -> Result<Placed, Refusal> {
        let Present { path, serial, state, access, .. } = self.present().clone();
        let beside = |path: &Path| Ok(Placed { birthplace: open(path)?, runs: false });
        match (state, newcomer) {
            (State::Made, Newcomer::Another) => return beside(&path),
            (State::Vacant | State::Spent, Newcomer::Another) => {
                return Err(Refusal::dying(&path));
            }
            (State::Made | State::Vacant, Newcomer::First) => {
                self.present().state = State::Made;
                let events = Events::of(&path);
                if events.populated {
                    // A helper was born in it meanwhile, and that cgroup may just be freezing.
                    return beside(&path);
                }
                // Of one that is empty the kernel tells whether it is frozen, by itself or from
                // above.
                if !events.frozen
                    && let Ok(birthplace) = open(&path)
                    && access.is_some_and(|access| {
                        tree::is_as_made(&birthplace, access, self.root.passes_on())
                    })
                {
                    return Ok(Placed { birthplace, runs: true });
                }
                // What one incarnation made below it is not for the next one to find. Also another
                // process with the right may have removed an empty one.
                if !tree::remove(&path) && Events::of(&path).populated {
                    return beside(&path);
                }
            }
            (State::Planned | State::Spent, _) => {}
        }
        let made = if state == State::Spent {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            self.root.make(&path)
        };
        let (path, serial) = match made {
            Ok(()) => (path, serial),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if matches!(state, State::Made | State::Vacant) || !tree::remove(&path) {
                    self.given_up.remove_elsewhere(path);
                }
                self.make_next(serial)?
            }
            Err(error) => return Err(Refusal::directory(&path, &error)),
        };
        // Nothing waits for a change of cgroups to learn where the present one is.
        *self.present() = Present::at(path.clone(), serial);
        let birthplace = open(&path)?;
        self.present().access = Access::of(&birthplace);
        // Below a frozen one the kernel makes it frozen (`cgroup_create` in kernel/cgroup/cgroup.c,
        // Linux 5.2).
        let runs = Events::of(&path) == Events::EMPTY;
        Ok(Placed { birthplace, runs })
    }

    /// That nothing in it runs, and what to do.
    pub(in crate::isolation) fn frozen(&self) -> Option<Refusal> {
        frozen::by(&self.path(), self.root.place.mount()).map(|path| Refusal::frozen(&path))
    }

    /// The same where it is a cgroup above it. One small read where nothing is frozen.
    pub(in crate::isolation) fn frozen_above(&self) -> Option<Refusal> {
        if !Events::of(&self.path()).frozen {
            return None;
        }
        let by = frozen::by(&self.root.path, self.root.place.mount());
        by.map(|path| Refusal::frozen(&path))
    }

    /// Lets those in it go on, elsewhere: that may wait, as [`Leaf::directory`]. Not those that are
    /// kept from running with all others, by a cgroup above it.
    pub(in crate::isolation) fn thaw(&self) {
        let path = self.path();
        if frozen::is_frozen_itself(&path) {
            CHANGES.run(move || {
                let _ = frozen::thaw(&path);
            });
        }
    }

    fn make_next(&self, mut serial: u32) -> Result<(PathBuf, u32), Refusal> {
        loop {
            serial = serial.wrapping_add(1);
            let mut next = self.first.clone().into_os_string();
            next.push(format!("{SERIAL}{serial}"));
            let next = PathBuf::from(next);
            match self.root.make(&next) {
                Ok(()) => return Ok((next, serial)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Refusal::directory(&next, &error)),
            }
        }
    }

    pub(super) fn enforce(&self) -> Result<(), Refusal> {
        if self.limits.is_empty() {
            return Ok(());
        }
        self.root.place.enable(&self.root.path, &limits::controllers(&self.limits))?;
        self.root.begin_to_pass_on();
        limits::apply(&self.limits, &self.path())
    }

    /// Whether the OOM killer has ended a process in it since the last question, or since it was
    /// made.
    pub(in crate::isolation) fn take_oom_kill(&self) -> bool {
        if !self.root.passes_on() {
            return false;
        }
        let now = limits::oom_kills(&self.path());
        now > std::mem::replace(&mut self.present().oom_kills, now)
    }

    /// Some of those who are in it, or below it, found at once; and whether that is all of them.
    pub(in crate::isolation) fn some(&self) -> (Vec<i32>, Extent) {
        self.members().some()
    }

    /// The same, to be found wherever the loop is.
    pub(in crate::isolation) fn members(&self) -> Members {
        Members { path: self.path(), mount: self.root.place.mount().to_path_buf() }
    }

    /// Whether it is empty. Cheap: mostly one small read.
    pub(in crate::isolation) fn is_empty(&self) -> bool {
        !Events::of(&self.path()).populated
    }

    /// Whether a process is in it, or below it. One small read, however many are.
    pub(in crate::isolation) fn contains(&self, pid: i32) -> bool {
        self.members().contain(pid)
    }
}

/// Those in a leaf.
#[derive(Clone, Debug)]
pub(in crate::isolation) struct Members {
    path: PathBuf,
    mount: PathBuf,
}

impl Members {
    /// Who is in it, those in cgroups below it included. The dead are not. Takes its time where
    /// the worker has made many: not for the loop.
    pub(in crate::isolation) fn pids(&self) -> Vec<i32> {
        tree::processes(&self.path, tree::MOST).0
    }

    /// See [`Leaf::some`].
    pub(in crate::isolation) fn some(&self) -> (Vec<i32>, Extent) {
        tree::processes(&self.path, AT_ONCE)
    }

    /// Kills everyone in it, whatever they fork meanwhile. May wait, as [`Leaf::directory`].
    pub(in crate::isolation) fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// See [`Leaf::contains`].
    pub(in crate::isolation) fn contain(&self, pid: i32) -> bool {
        process_table::is_alive(pid)
            && match place::is_below(&self.mount, pid, &self.path) {
                Some(is_below) => is_below,
                // Too deep for a path (proc_pid_cgroup(5)).
                None => self.some().0.contains(&pid),
            }
    }
}

impl Drop for Leaf {
    /// Elsewhere: that may wait, as [`Leaf::directory`].
    fn drop(&mut self) {
        self.given_up.remove_elsewhere(self.path());
    }
}

fn open(path: &Path) -> Result<OwnedFd, Refusal> {
    tree::birthplace(path).map_err(|error| Refusal::directory(path, &error))
}

/// Cgroups to be removed, tried again with each other one.
#[derive(Clone, Debug, Default)]
struct GivenUp(Arc<Mutex<Vec<PathBuf>>>);

impl GivenUp {
    /// On another thread: it may be much, and the kernel has one lock for changes of all cgroups.
    fn remove_elsewhere(&self, path: PathBuf) {
        let left = Self::clone(self);
        left.lock().push(path);
        CHANGES.run(move || {
            let all = std::mem::take(&mut *left.lock());
            let are_left = all.into_iter().filter(|path| !tree::remove(path)).collect::<Vec<_>>();
            left.lock().extend(are_left);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
