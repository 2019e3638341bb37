//! The names of POSIX that this supervisor has given: one for each resource that has one, the same
//! from run to run. Files in `/dev/shm` and message queues outlive every process, so a file in the
//! runtime directory says which of them are its own: one that a killed run has left is taken away,
//! and one that another program has made is not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Uid, fchown, geteuid};
use workers::shared::{Named, Space};

use super::made::errno_of;
use crate::accounts;
use crate::config::Launch;
use crate::config::settings::Resource;
use crate::isolation::launch::failed::{Failed, Result};
use crate::isolation::tree::marks::instance_id_of;
use crate::pool::Pool;
use crate::stages;
use crate::waiting::received;

/// In the runtime directory: which names are this supervisor's.
const FILE: &str = "posix-names";
/// For them to be taken away at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Takes them away at the very end: a file system may not answer.
static REMOVER: Pool = Pool::new("posix-names", 1);

/// Begins the names that supervisors give, as POSIX has them.
pub(super) const PREFIX: &str = "/supervisord-rs.";

/// Begins those of the supervisor with this directory: `/supervisord-rs.INSTANCE.`.
pub(super) fn prefix(runtime_dir: &Path) -> String {
    format!("{PREFIX}{}.", instance_id_of(runtime_dir))
}

/// See the module.
#[derive(Clone, Debug)]
pub(in crate::isolation) struct Names(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Begins all of them, see [`prefix`].
    prefix: String,
    file: PathBuf,
    /// By resource, the user whose commands open it by its name.
    owners: HashMap<String, String>,
    given: Mutex<Given>,
}

/// Those that were given, each with the device and the number of its file. `None`: it is about to
/// be made.
type Given = BTreeMap<(Word, String), Option<(u64, u64)>>;

/// A [`Space`], as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word(&'static str);

const SPACES: [(Word, Space); 3] = [
    (Word("semaphore"), Space::Semaphore),
    (Word("memory"), Space::Memory),
    (Word("queue"), Space::Queue),
];

impl Word {
    fn of(space: Space) -> Self {
        SPACES.iter().find(|(_, known)| *known == space).expect("all three are there").0
    }

    fn space(self) -> Space {
        SPACES.iter().find(|(known, _)| *known == self).expect("all three are there").1
    }
}

impl Names {
    /// Of the supervisor with this directory, whose workers these are. None is given.
    pub(in crate::isolation) fn new<'a>(
        runtime_dir: &Path,
        launches: impl Iterator<Item = &'a Launch>,
    ) -> Self {
        let mut users: HashMap<String, BTreeSet<String>> = HashMap::new();
        for launch in launches {
            let Some(user) = &launch.execution.user else { continue };
            for resource in launch.uses.iter().filter(|one| one.named().is_some()) {
                users.entry(resource.name.clone()).or_default().insert(user.clone());
            }
        }
        let only = |(name, all): (String, BTreeSet<String>)| {
            let user = all.first().filter(|_| all.len() == 1)?.clone();
            Some((name, user))
        };
        Self(Arc::new(Shared {
            prefix: prefix(runtime_dir),
            file: runtime_dir.join(FILE),
            owners: users.into_iter().filter_map(only).collect(),
            given: Mutex::default(),
        }))
    }

    /// That of a resource, if it is one that has any.
    pub(in crate::isolation) fn of(&self, resource: &Resource) -> Option<String> {
        resource.named().map(|_| format!("{}{}", self.0.prefix, resource.name))
    }

    /// Goes on with what a predecessor has made and is kept: the others go, also those of a run
    /// that was killed with all that kept them.
    pub(super) fn adopt<'a>(&self, kept: impl Iterator<Item = (&'a Resource, &'a OwnedFd)>) {
        let mut given = self.0.lock();
        *given = read(&self.0.file);
        let mut current = Given::new();
        for (resource, fd) in kept {
            let (Some(named), Some(name)) = (resource.named(), self.of(resource)) else { continue };
            let identity = identity(fd);
            let found = named.space().find(&name).ok().and_then(|found| self::identity(&found));
            if found != identity {
                tracing::warn!(
                    resource = resource.name,
                    "{} is gone or another one: workers go on with what they have, commands do not \
                     find it by its name",
                    named.space().path(&name)
                );
            }
            current.insert((Word::of(named.space()), name), identity);
        }
        let stale: Vec<_> =
            given.keys().filter(|key| !current.contains_key(*key)).cloned().collect();
        for (word, name) in stale {
            let _ = take_away(&mut given, word.space(), &name);
        }
        *given = current;
        self.0.write(&given);
    }

    /// Makes what has a name, in the place of what an earlier run or an earlier definition has left
    /// there. May take long.
    ///
    /// # Errors
    /// EEXIST: what has its name is not this supervisor's; else what [`Named::make`] says.
    pub(super) fn make(&self, resource: &Resource, named: Named) -> Result<OwnedFd> {
        let name = format!("{}{}", self.0.prefix, resource.name);
        let space = named.space();
        let key = (Word::of(space), name.clone());
        let failed = |errno| {
            let subject = match errno {
                Errno::EEXIST => format!("{}: {}", resource.name, space.path(&name)),
                _ => resource.name.clone(),
            };
            Failed::about(stages::RESOURCE, errno, subject)
        };
        let mut given = self.0.lock();
        take_away(&mut given, space, &name).map_err(failed)?;
        given.insert(key.clone(), None);
        self.0.write(&given);
        let made = named.make(&name);
        match &made {
            Ok(fd) => given.insert(key, identity(fd)),
            Err(_) => given.remove(&key),
        };
        self.0.write(&given);
        let fd = made.map_err(|error| failed(errno_of(&error)))?;
        // From here on a successor knows whose it is, also where another user owns it.
        self.0.give_to_owner(resource, &fd).map_err(failed)?;
        Ok(fd)
    }

    /// At the very end: all of them go.
    pub(super) fn remove(&self) {
        let (shared, (done, is_done)) = (Arc::clone(&self.0), channel());
        REMOVER.run(move || {
            let mut given = shared.lock();
            for (word, name) in given.keys().cloned().collect::<Vec<_>>() {
                let _ = take_away(&mut given, word.space(), &name);
            }
            given.clear();
            let _ = fs::remove_file(&shared.file);
            let _ = done.send(());
        });
        let _ = received(&is_done, LAST_WAIT);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its users run as this one: their commands open it by its name.
    fn give_to_owner(&self, resource: &Resource, fd: &OwnedFd) -> nix::Result<()> {
        let Some(name) = self.owners.get(&resource.name) else { return Ok(()) };
        let user = accounts::user(name).ok_or(Errno::ESRCH)?;
        fchown(fd, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))
    }

    /// Where that fails, a killed run leaves names that its successor does not know.
    fn write(&self, given: &Given) {
        let mut text = String::new();
        for ((Word(word), name), file) in given {
            let (device, number) = file.unzip();
            let shown = |number: Option<u64>| number.map_or("-".to_owned(), |one| one.to_string());
            let _ = writeln!(text, "{word} {name} {} {}", shown(device), shown(number));
        }
        if text.is_empty() {
            let _ = fs::remove_file(&self.file);
            return;
        }
        let next = self.file.with_extension("next");
        let written = fs::write(&next, text).and_then(|()| fs::rename(&next, &self.file));
        if let Err(error) = written {
            tracing::warn!(file = %self.file.display(), %error, "cannot note names of POSIX");
        }
    }
}

/// A line that is not understood names nothing.
fn read(file: &Path) -> Given {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(' ');
        let (word, name) = (fields.next()?, fields.next()?);
        let (word, _) = SPACES.iter().find(|(Word(known), _)| *known == word)?;
        let mut number = || fields.next()?.parse::<u64>().ok();
        Some(((*word, name.to_owned()), number().zip(number())))
    };
    text.lines().filter_map(line).collect()
}

/// Takes away what has this name, if it is ours.
///
/// # Errors
/// EEXIST: it is not.
fn take_away(given: &mut Given, space: Space, name: &str) -> std::result::Result<(), Errno> {
    let known = given.remove(&(Word::of(space), name.to_owned()));
    let found = match space.find(name) {
        Ok(found) => found,
        Err(error) if errno_of(&error) == Errno::ENOENT => return Ok(()),
        Err(_) => return Err(Errno::EEXIST),
    };
    let is_ours = match known {
        None => false,
        // The run that wanted to make it has ended before it could say so.
        Some(None) => fstat(&found).is_ok_and(|stat| stat.st_uid == geteuid().as_raw()),
        Some(noted) => noted == identity(&found),
    };
    if !is_ours {
        return Err(Errno::EEXIST);
    }
    space.unlink(name).map_err(|error| errno_of(&error))
}

/// Device and number of a file: those of another one are others.
fn identity(fd: &OwnedFd) -> Option<(u64, u64)> {
    let stat = fstat(fd.as_fd()).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Mechanism, ResourceKind};

    fn gate(permits: usize) -> Resource {
        let kind = ResourceKind::Semaphore { permits, by: Mechanism::Posix };
        Resource { name: "gate".into(), kind }
    }

    fn make(names: &Names, resource: &Resource) -> Result<OwnedFd> {
        names.make(resource, resource.named().expect("it has a name"))
    }

    #[test]
    fn a_name_is_the_same_after_a_kill_and_what_is_not_ours_is_not_touched() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = || Names::new(directory.path(), std::iter::empty());
        let first = names();
        let name = first.of(&gate(2)).expect("it has one");
        let made = make(&first, &gate(2)).expect("made");
        let is_there = || Space::Semaphore.find(&name).ok().and_then(|found| identity(&found));
        assert_eq!(is_there(), identity(&made));

        // A successor that has it goes on with it.
        let second = names();
        second.adopt([(&gate(2), &made)].into_iter());
        assert_eq!(is_there(), identity(&made));
        // One that has lost it takes it away: also that whose maker was killed in between.
        names().adopt(std::iter::empty());
        assert_eq!(is_there(), None);
        let again = make(&second, &gate(2)).expect("made");
        let text = format!("semaphore {name} - -\n");
        fs::write(directory.path().join(FILE), text).expect("written");
        let third = names();
        third.adopt(std::iter::empty());
        assert_eq!(is_there(), None);
        drop(again);

        // Another program has the name.
        let foreign = Named::Semaphore { permits: 1 }.make(&name).expect("made");
        let failed = make(&third, &gate(2)).expect_err("taken");
        assert_eq!(failed.failure.errno, Errno::EEXIST as i32);
        let subject = failed.subject.expect("what is in the way");
        assert_eq!(subject, format!("gate: {}", Space::Semaphore.path(&name)));
        third.remove();
        assert_eq!(is_there(), identity(&foreign));
        Space::Semaphore.unlink(&name).expect("there");
        let last = make(&third, &gate(2)).expect("made");
        assert_eq!(is_there(), identity(&last));
        third.remove();
        assert_eq!((is_there(), directory.path().join(FILE).exists()), (None, false));
    }
}
