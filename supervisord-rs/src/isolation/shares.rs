//! What workers share (`resources:`): made once, handed to each that uses it, kept for a successor.
//! The supervisor never waits for one of them and trusts no word in it: a wait has a worker's
//! thread, and what is read for people is checked as any stranger's input.
//!
//! | file | has |
//! |---|---|
//! | `shares` | which are made |
//! | `made` | what one consists of, and its names in the store |
//! | `handed` | what an incarnation gets of them |
//! | `room` | whether there is memory for one |
//! | `names` | the names of POSIX that this supervisor has given |
//! | `leftover` | those of a supervisor that has gone |
//! | `losses` | what a death did to them |

mod handed;
mod leftover;
mod losses;
mod made;
mod names;
mod room;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

pub(super) use handed::Handed;
use handed::Item;
pub(crate) use leftover::{is_of_a_supervisor, names_left};
pub(super) use losses::Ended;
use made::{KEPT, Made, blueprint, errno_of, kept_ends, kept_name, kind};
pub(super) use names::Names;
use workers::shared::{Error, Seen, Segment, lives};

use super::launch::failed::{Failed, Result};
use crate::config::settings::{Resource, ResourceKind};
use crate::service_manager::{FdStore, InheritedDescriptors};
use crate::stages;

/// All that are declared. They are made on launcher threads: to find memory for one may take long.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Never held while something is made.
    state: Mutex<State>,
    store: FdStore,
    names: Names,
}

#[derive(Debug, Default)]
struct State {
    /// By name in the store. Each with a lock of its own: a launch that wants one that is being
    /// made waits for that.
    made: HashMap<String, Slot>,
    /// Those that threads of the supervisor have had: their memory stays.
    used_here: HashSet<String>,
    /// What incidents have said of them, by name in the store.
    told: HashMap<String, Told>,
}

/// What was told of a resource: of one death, one incident tells.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// How often a next owner was told of a dead one.
    recoveries: u32,
    /// The hold of a dead owner, until the next one comes.
    hold: Option<(u64, u64)>,
    /// That it is too short.
    is_cut_off: bool,
    /// How many bytes the one before it was too short, which no incident has said yet.
    cut_off_before: u64,
}

/// One as it is now.
#[derive(Debug)]
pub struct Looked {
    /// What can be seen of it.
    pub seen: Seen,
    /// The number of our descriptor.
    pub number: RawFd,
    /// Its name of POSIX.
    pub posix: Option<String>,
}

/// One whose lock a dead user has left in doubt, as it was seen so.
#[derive(Clone, Debug)]
pub(super) struct Doubtful {
    pub(super) resource: Arc<Resource>,
    segment: Option<&'static Segment>,
}

type Slot = Arc<Mutex<Option<Arc<Made>>>>;

impl Shares {
    /// None is made. Those that will be are kept for a successor.
    pub(super) fn new(store: FdStore, names: Names) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), store, names }))
    }

    /// Takes over those that a predecessor has made and that are declared now, with what is in
    /// them. The others go: they have another definition, or none.
    pub(super) fn adopt<'a>(
        &self,
        declared: impl Iterator<Item = &'a Resource>,
        inherited: &mut InheritedDescriptors,
    ) {
        let mut found: HashMap<String, OwnedFd> = inherited
            .claim_all(KEPT)
            .into_iter()
            .map(|(name, fd)| (format!("{KEPT}{name}"), fd))
            .collect();
        let mut named = Vec::new();
        for resource in declared {
            let name = kept_name(resource);
            let ends: Vec<OwnedFd> =
                kept_ends(resource, &name).filter_map(|end| found.remove(&end)).collect();
            let Some(fd) = found.remove(&name) else { continue };
            let is_whole = ends.len() == kept_ends(resource, &name).count();
            match Segment::adopt(fd) {
                Ok(segment) if segment.kind() == kind(resource) && is_whole => {
                    agree(segment, resource);
                    // What users were told before is no matter of this one.
                    let told = Told { recoveries: segment.recoveries(), ..Told::default() };
                    self.0.lock().told.insert(name.clone(), told);
                    let slot = self.0.lock().made.entry(name).or_default().clone();
                    let made = Arc::new(Made { segment, ends });
                    named.push((resource, Arc::clone(&made)));
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
                }
                Ok(_) | Err(_) => {
                    tracing::error!(
                        resource = resource.name,
                        "what was kept of this resource is another thing: it is made again, empty"
                    );
                    for kept in kept_ends(resource, &name).chain([name.clone()]) {
                        self.0.store.forget(&kept);
                    }
                }
            }
        }
        for (name, _) in found {
            self.0.store.forget(&name);
        }
        let named =
            named.iter().filter_map(|(resource, made)| Some((*resource, made.ends.first()?)));
        self.0.names.adopt(named);
    }

    /// At the very end: what has a name of POSIX loses that.
    pub(super) fn remove(&self) {
        self.0.names.remove();
    }

    /// How many descriptors [`make`](Self::make) needs for these. Does not block.
    pub(super) fn to_open(&self, resources: &[Arc<Resource>]) -> usize {
        let state = self.0.lock();
        let is_made = |resource: &&Arc<Resource>| {
            state.made.get(&kept_name(resource)).is_some_and(|slot| match slot.try_lock() {
                Ok(slot) => slot.is_some(),
                Err(TryLockError::Poisoned(slot)) => slot.into_inner().is_some(),
                // Another launch is making it, and counts it.
                Err(TryLockError::WouldBlock) => true,
            })
        };
        let missing = resources.iter().filter(|resource| !is_made(resource));
        let needed = missing.map(|resource| 1 + kept_ends(resource, "").count()).sum::<usize>();
        needed * (1 + usize::from(self.0.store.is_there()))
    }

    /// All of these, where all are made; `None`: they are not. Does not block.
    pub(super) fn ready(&self, resources: &[Arc<Resource>]) -> Option<Handed> {
        let state = self.0.lock();
        let item = |resource: &Arc<Resource>| {
            // Another launch is making it.
            let slot = state.made.get(&kept_name(resource))?.try_lock().ok()?;
            let made = slot.as_ref().filter(|made| made.cut_off(resource) == 0)?;
            Some(Item::of(resource, self.0.names.of(resource), Arc::clone(made)))
        };
        Some(Handed(resources.iter().map(item).collect::<Option<_>>()?))
    }

    /// One as it is now; `None`: it is not made. Does not block.
    pub(super) fn look(&self, resource: &Resource) -> Option<Looked> {
        let segment = self.0.lock().segment(&kept_name(resource))?;
        let (seen, number) = (segment.look(), segment.fd().as_raw_fd());
        Some(Looked { seen, number, posix: self.0.names.of(resource) })
    }

    /// Makes those that are not made yet. May take long, where the kernel has to find memory.
    pub(super) fn make(&self, resources: &[Arc<Resource>]) -> Result<()> {
        resources.iter().try_for_each(|resource| self.make_one(resource))
    }

    /// Those of `resources` that a dead user has left in doubt. For those who know that no user
    /// lives. Does not block.
    pub(super) fn in_doubt<'a>(
        &self,
        resources: impl Iterator<Item = &'a Arc<Resource>>,
    ) -> Vec<&'a Arc<Resource>> {
        let state = self.0.lock();
        let is_in_doubt = |resource: &&Arc<Resource>| {
            let segment = state.segment(&kept_name(resource));
            segment.is_some_and(Segment::is_in_doubt)
        };
        resources.filter(is_in_doubt).collect()
    }

    /// These as they are now, for [`renew`](Self::renew). Does not block.
    pub(super) fn doubtful(&self, resource: &Arc<Resource>) -> Doubtful {
        let segment = self.0.lock().segment(&kept_name(resource));
        Doubtful { resource: Arc::clone(resource), segment }
    }

    /// They are about to be handed to a thread of the supervisor. Does not block.
    pub(super) fn note_used_here(&self, resources: &[Arc<Resource>]) {
        self.0.lock().used_here.extend(resources.iter().map(|resource| kept_name(resource)));
    }

    /// Makes others in the places of these, unless that was done since they were seen. It is new
    /// memory: a thread that was left behind may still be within a change of what was there, and
    /// stays the only one there. May take long.
    pub(super) fn renew(&self, doubtful: &[Doubtful]) -> Result<()> {
        for Doubtful { resource, segment } in doubtful {
            let name = kept_name(resource);
            let slot = self.0.lock().made.get(&name).cloned();
            let (Some(seen), Some(slot)) = (segment, slot) else { continue };
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if !slot.as_ref().is_some_and(|now| std::ptr::eq(now.segment, *seen)) {
                continue;
            }
            self.put(resource, &name, &mut slot)?;
            let mut state = self.0.lock();
            state.told.remove(&name);
            if !state.used_here.contains(&name)
                && let Err(error) = seen.retire()
            {
                tracing::warn!(resource = resource.name, %error, "its memory is not given back");
            }
        }
        Ok(())
    }

    fn make_one(&self, resource: &Resource) -> Result<()> {
        let name = kept_name(resource);
        let slot = self.0.lock().made.entry(name.clone()).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let cut_off = slot.as_ref().map(|made| made.cut_off(resource));
        if cut_off == Some(0) {
            return Ok(());
        }
        if cut_off.is_some() {
            tracing::warn!(
                resource = resource.name,
                "a user has made it shorter: it is made again, empty"
            );
        }
        warn_of_lives();
        self.put(resource, &name, &mut slot)?;
        let mut state = self.0.lock();
        let was_told = state.told.remove(&name).is_some_and(|told| told.is_cut_off);
        let cut_off_before = cut_off.filter(|_| !was_told).unwrap_or(0);
        state.told.insert(name, Told { cut_off_before, ..Told::default() });
        Ok(())
    }

    /// Makes it, and puts it into its slot and into the store.
    fn put(&self, resource: &Resource, name: &str, slot: &mut Option<Arc<Made>>) -> Result<()> {
        room::check(resource, self.bytes_made())?;
        let failed =
            |error| Failed::about(stages::RESOURCE, errno_of(&error), resource.name.clone());
        let segment = blueprint(resource).make().map_err(failed)?;
        agree(segment, resource);
        let named = resource.named().map(|named| self.0.names.make(resource, named)).transpose()?;
        let ends = match (&resource.kind, named) {
            (ResourceKind::Queue { .. }, Some(take)) => {
                let send = take.try_clone();
                let send =
                    send.map_err(|source| failed(Error::System { call: "fcntl", source }))?;
                vec![take, send]
            }
            (_, Some(named)) => vec![named],
            (ResourceKind::Queue { by, capacity, message }, None) => {
                by.ends(*capacity, *message).map_err(failed)?
            }
            (_, None) => Vec::new(),
        };
        let made = Made { segment, ends };
        // Before a process has it that outlives us: its successor finds the same one.
        let kept = std::iter::once(name.to_owned()).chain(kept_ends(resource, name));
        for (kept, descriptor) in kept.zip(made.descriptors()) {
            if slot.is_some() {
                self.0.store.forget(&kept);
            }
            let _ = self.0.store.keep_at_once(&kept, &[descriptor]);
        }
        *slot = Some(Arc::new(made));
        Ok(())
    }

    /// Of all that are made, and are not being made again.
    fn bytes_made(&self) -> u64 {
        let state = self.0.lock();
        let size = |slot: &Slot| Some(slot.try_lock().ok()?.as_ref()?.segment.size());
        let sizes = state.made.values().filter_map(size);
        sizes.fold(0, |sum, size| sum.saturating_add(size as u64))
    }
}

impl State {
    /// Of one that is made, and not being made.
    fn segment(&self, name: &str) -> Option<&'static Segment> {
        Some(self.made(name)?.segment)
    }

    fn made(&self, name: &str) -> Option<Arc<Made>> {
        self.made.get(name)?.try_lock().ok()?.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For users whom no briefing tells: commands, and programs in other languages.
fn agree(segment: &Segment, resource: &Resource) {
    if let Some(on_owner_death) = resource.on_owner_death() {
        segment.agree_on_owner_death(on_owner_death);
    }
}

/// Once, where nothing comes back of the dead.
fn warn_of_lives() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    if !lives::are_known() {
        ONCE.call_once(|| {
            tracing::warn!(
                "/proc is of another PID namespace: what dead workers had of what they share comes \
                 back only while no other has their number; mount the own one (unshare --mount-proc)"
            );
        });
    }
}

#[cfg(test)]
mod tests;
