//! What a death did to what its workers share: given back at once, and told in the incident.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use workers::shared::{Holder, Left, Lives, OnOwnerDeath};

use super::made::kept_name;
use super::{Shares, Told};
use crate::config::settings::Resource;
use crate::control::protocol::ResourceLoss;
use crate::isolation::closer;
use crate::isolation::live::ring;
use crate::record::incidents::Losses;

/// How long the loop looks at what the dead have left, and how many files it reads for that: what
/// is not done then is done by another thread.
const LOOK_TIME: Duration = Duration::from_millis(50);
const LOOK_FILES: usize = 256;

/// Who has ended, and whose numbers are those of others.
#[derive(Debug, Default)]
pub(in crate::isolation) struct Ended {
    /// What they used.
    pub(in crate::isolation) used: Vec<Arc<Resource>>,
    /// The threads and processes of workers that have not ended with them: what those had, if they
    /// are dead, learns of their own death.
    pub(in crate::isolation) others: HashSet<u32>,
}

impl Shares {
    /// Gives back what the dead had of these, on another thread, which rings the bell then: a queue
    /// may have many messages.
    pub(in crate::isolation) fn release(&self, ended: Ended, bell: &Arc<OwnedFd>) -> Losses {
        self.release_rest(Vec::new(), ended, bell)
    }

    /// The same at once, as far as that takes no time: of threads of the supervisor, whose next
    /// fault may be its end.
    pub(in crate::isolation) fn release_now(&self, ended: Ended, bell: &Arc<OwnedFd>) -> Losses {
        let (end, lives) = (Instant::now() + LOOK_TIME, Lives::at_most(LOOK_FILES));
        let Ended { used, others } = ended;
        let (mut told, mut rest) = (Vec::new(), Vec::new());
        for resource in used {
            let is_time_over = lives.is_cut_short() || Instant::now() > end;
            if !is_time_over {
                told.extend(self.losses_of(&resource, &others, &lives));
            }
            if is_time_over || lives.is_cut_short() {
                rest.push(resource);
            }
        }
        if rest.is_empty() {
            return Arc::new(told.into());
        }
        self.release_rest(told, Ended { used: rest, others }, bell)
    }

    fn release_rest(&self, told: Vec<ResourceLoss>, ended: Ended, bell: &Arc<OwnedFd>) -> Losses {
        let losses = Losses::default();
        let (shares, bell, found) = (self.clone(), Arc::clone(bell), Arc::clone(&losses));
        closer::run(move || {
            let (lives, mut told) = (Lives::default(), told);
            for resource in &ended.used {
                told.extend(shares.losses_of(resource, &ended.others, &lives));
            }
            let _ = found.set(told);
            ring(bell.as_fd());
        });
        losses
    }

    fn losses_of(
        &self,
        resource: &Resource,
        others: &HashSet<u32>,
        lives: &Lives,
    ) -> Vec<ResourceLoss> {
        let name = kept_name(resource);
        let made = self.0.lock().made(&name);
        let is_theirs = |holder: Holder| !others.contains(&holder.id());
        let Some(made) = made else { return Vec::new() };
        let left = made.segment.release_dead_if(lives, is_theirs);
        let Ok(left) = left else { return Vec::new() };
        // A reload keeps what is noted there.
        if resource.named().is_some() && left.permits > 0 {
            made.segment.note_lost_permits(left.permits as u64);
        }
        let cut_off = made.cut_off(resource);
        let mut state = self.0.lock();
        let is_current = state.made(&name).is_some_and(|now| Arc::ptr_eq(&now, &made));
        let told = state.told.entry(name).or_default();
        let (left, recovered) = told.news(left, is_theirs);
        let mut news = std::mem::take(&mut told.cut_off_before);
        if is_current && !told.is_cut_off {
            told.is_cut_off = cut_off > 0;
            news = news.max(cut_off);
        }
        words(resource, &left, recovered, news)
    }
}

impl Told {
    /// What was not told before, and how often since then the next owner was told of a dead one.
    fn news(&mut self, mut left: Left, is_theirs: impl Fn(Holder) -> bool) -> (Left, u32) {
        let recovered = left.recoveries.saturating_sub(self.recoveries);
        if recovered > 0 && left.fallen.is_some_and(|fallen| !is_theirs(fallen)) {
            // It waits for the incident of the one that died.
            left.lock = None;
            return (left, 0);
        }
        let was_known = u32::from(self.hold.is_some() && recovered > 0);
        if left.lock.is_some() && self.hold == Some(left.hold) {
            left.lock = None;
        } else if left.lock.is_some() || recovered > 0 {
            self.hold = left.lock.is_some().then_some(left.hold);
        }
        self.recoveries = left.recoveries;
        (left, recovered - was_known)
    }
}

/// In the words of the record. `told`: how often since the last look the next one was told already.
/// `cut_off`: how many bytes it has become shorter since then.
fn words(resource: &Resource, left: &Left, told: u32, cut_off: u64) -> Vec<ResourceLoss> {
    let loss = |had: &str, count: usize, then: &str| ResourceLoss {
        resource: resource.name.clone(),
        kind: resource.word().to_owned(),
        had: had.to_owned(),
        count: count as u64,
        then: then.to_owned(),
        held_ms: None,
    };
    let then = match resource.on_owner_death().unwrap_or_default() {
        OnOwnerDeath::Repair => "to-repair",
        OnOwnerDeath::Poison => "poisoned",
        OnOwnerDeath::Continue => "continued",
        OnOwnerDeath::RestartUsers => "made-again",
    };
    let held_ms = left.held_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let lock = match left.lock {
        Some(true) => Some(ResourceLoss { held_ms, ..loss("lock-within-change", 1, then) }),
        Some(false) => Some(ResourceLoss { held_ms, ..loss("lock", 1, then) }),
        // One that waited was faster than this look: how its owner had it is not known any more.
        None => (told > 0).then(|| loss("lock", 1, then)),
    };
    // A POSIX semaphore knows nothing of who has its permits.
    let of_permits = if resource.named().is_some() { "lost" } else { "released" };
    let cut_off = usize::try_from(cut_off).unwrap_or(usize::MAX);
    let counted = [
        ("permit", left.permits, of_permits),
        ("reader", left.readers, "released"),
        ("message", left.messages, "delivered-again"),
        ("half-message", left.half_messages, "dropped"),
        ("message", left.lost_messages, "lost"),
        ("byte", cut_off, "cut-off"),
    ];
    let counted = counted.into_iter().filter(|(_, count, _)| *count > 0);
    lock.into_iter().chain(counted.map(|(had, count, then)| loss(had, count, then))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Carrier, Mechanism, ResourceKind};
    use crate::service_manager::FdStore;

    #[test]
    fn each_thing_that_the_dead_had_is_one_loss_with_what_became_of_it() {
        let lock = |on_owner_death| Resource {
            name: "door".into(),
            kind: ResourceKind::Mutex { on_owner_death },
        };
        let queue = Resource {
            name: "jobs".into(),
            kind: ResourceKind::Queue { capacity: 1, message: 1, by: Carrier::Ring },
        };
        let said = |resource: &Resource, left: Left, told| -> Vec<String> {
            let all = words(resource, &left, told, 0).into_iter();
            all.map(|one| format!("{} {} {}", one.count, one.had, one.then)).collect()
        };
        let torn = Left { lock: Some(true), ..Left::default() };
        assert_eq!(said(&lock(OnOwnerDeath::Repair), torn, 0), ["1 lock-within-change to-repair"]);
        let told = said(&lock(OnOwnerDeath::Poison), Left::default(), 1);
        assert_eq!(told, ["1 lock poisoned"]);
        assert_eq!(said(&lock(OnOwnerDeath::Continue), Left::default(), 0), [""; 0]);
        let gate =
            |by| Resource { name: "gate".into(), kind: ResourceKind::Semaphore { permits: 2, by } };
        let left = Left { permits: 2, ..Left::default() };
        assert_eq!(said(&gate(Mechanism::Own), left, 0), ["2 permit released"]);
        assert_eq!(said(&gate(Mechanism::Posix), left, 0), ["2 permit lost"]);
        let left = Left { messages: 2, half_messages: 1, ..Left::default() };
        assert_eq!(said(&queue, left, 0), ["2 message delivered-again", "1 half-message dropped"]);
    }

    #[test]
    fn what_stands_in_a_resource_does_not_hold_up_the_loop() {
        const PERMITS: usize = 4096;
        let shares = Shares::new(FdStore::none(), super::super::tests::names());
        let used: Vec<Arc<Resource>> = (0..50)
            .map(|index| {
                let kind = ResourceKind::Semaphore { permits: PERMITS, by: Mechanism::Own };
                Arc::new(Resource { name: format!("gate{index}"), kind })
            })
            .collect();
        shares.make(&used).expect("made");
        let living = [Holder::this_thread(), Holder::this_process()]
            .map(|one| one.expect("/proc").to_bits());
        // Two that live, one after the other; and many that never did, with a number that lives.
        let forged = |index: usize| match index % 3 {
            2 => living[0] - 1 - index as u64,
            at => living[at],
        };
        let bytes: Vec<u8> = (0..PERMITS).flat_map(|index| forged(index).to_ne_bytes()).collect();
        for (_, fd) in shares.ready(&used).expect("made").plain() {
            nix::sys::uio::pwrite(fd, &bytes, 4096 + 64).expect("written");
        }
        let bell = Arc::new(crate::isolation::live::event_fd().expect("a descriptor"));
        // Of a processor's time: what else it takes is the machine's.
        let time = || {
            let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
            Duration::from(time.expect("a clock"))
        };
        let begun = time();
        let losses = shares.release_now(Ended { used, others: HashSet::new() }, &bell);
        let took = time() - begun;
        assert!(took < LOOK_TIME * 10, "{took:?}");
        let told = losses.wait();
        assert_eq!(told.iter().map(|loss| loss.count).sum::<u64>(), 50 * (PERMITS as u64 / 3));
    }

    #[test]
    fn of_one_hold_is_told_once() {
        let mut told = Told::default();
        let dead = Left { lock: Some(false), hold: (7, 2), ..Left::default() };
        let all = |_| true;
        assert_eq!(told.news(dead, all).0.lock, Some(false));
        assert_eq!(told.news(dead, all).0.lock, None);
        // Now the next one has it.
        let next = Left { recoveries: 1, ..Left::default() };
        assert_eq!(told.news(next, all), (next, 0));
        // Another death, which the incident of the one that died has.
        let fallen = Holder::from_bits(1 << 42);
        let again = Left { recoveries: 2, fallen, ..Left::default() };
        assert_eq!(told.news(again, |_| false).1, 0);
        assert_eq!(told.news(again, all).1, 1);
        assert_eq!(told.news(again, all).1, 0);
    }
}
