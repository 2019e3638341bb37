//! What workers say: on notify sockets, on readiness pipes, in lines of their output.

use std::os::fd::AsFd;
use std::time::Duration;

use supervision::{DomainId, Event, Incarnation, WorkerId};
use workers::runtime::board::monotonic_ns;

use super::Drivers;
use crate::config::settings::Ready;
use crate::isolation::exits::reaper;
use crate::isolation::launch::Child;
use crate::isolation::live::hush;
use crate::isolation::notify::{Datagram, Word};
use crate::isolation::tree::standing::Standing;
use crate::process_table;
use crate::record::event::What;
use crate::record::logs::Notice;

/// Datagrams of one worker before others get their turn.
const DATAGRAMS: usize = 8;

impl Drivers {
    /// Takes what was said on a worker's notify socket.
    pub(super) fn hear(&mut self, worker: WorkerId) {
        // Its launch may have been answered since. Until it is, its process tree is unknown.
        self.means.take_launched();
        if self.means.defer_words(self.means.registry[worker].domain) {
            if let Some(notify) = &mut self.means.registry[worker].notify {
                notify.rest();
            }
            return;
        }
        // Of the last one who spoke: a flood of words is mostly one's.
        let mut known: Option<(i32, Standing)> = None;
        for _ in 0..DATAGRAMS {
            // Looked at first and taken after: a supervisor that dies between leaves it to its
            // successor.
            let Some(datagram) =
                self.means.registry[worker].notify.as_ref().and_then(|notify| notify.look())
            else {
                return;
            };
            let has_descriptors = datagram.has_descriptors;
            let sender = datagram.sender;
            let standing = known.filter(|(of, _)| *of == sender).map(|(_, standing)| standing);
            let standing = standing.unwrap_or_else(|| self.standing_of(worker, &datagram));
            if standing == Standing::NotKnownYet {
                return self.wait_for_census(worker);
            }
            self.take(worker, datagram, standing);
            known = Some((sender, standing)).filter(|_| standing == Standing::Stranger);
            if has_descriptors {
                return self.means.take_elsewhere(worker);
            }
            if let Some(notify) = &self.means.registry[worker].notify {
                notify.take();
            }
        }
    }

    /// Threads have taken datagrams: listens on.
    pub(super) fn listen_on(&mut self) {
        hush(self.means.bell.as_fd());
        let notify = self.means.registry.slots_mut().filter_map(|slot| slot.notify.as_mut());
        for notify in notify.filter(|notify| !notify.is_busy()) {
            notify.go_on();
        }
    }

    /// Whether the sender may speak for a worker, and whom it calls its main process.
    fn standing_of(&self, worker: WorkerId, datagram: &Datagram) -> Standing {
        let Some(live) = self.means.registry[worker].live.as_ref() else {
            return Standing::Stranger;
        };
        let sender = self.standing(live.domain, datagram.sender);
        let named = datagram.words.iter().flatten().filter_map(|word| match word {
            Word::MainPid(pid) => Some(self.standing(live.domain, *pid)),
            Word::Ready
            | Word::Reloading
            | Word::Stopping
            | Word::Status(_)
            | Word::Alive
            | Word::Trigger
            | Word::Extend(_) => None,
        });
        // A stranger's words do not matter.
        let mut named = named.filter(|_| sender == Standing::Member);
        if named.any(|named| named == Standing::NotKnownYet) {
            return Standing::NotKnownYet;
        }
        sender
    }

    fn standing(&self, domain: DomainId, pid: i32) -> Standing {
        self.means.registry.resident(domain).map_or(Standing::Stranger, |resident| {
            resident.process_tree.standing(resident.process.child(), pid)
        })
    }

    /// The census finds out who has spoken.
    fn wait_for_census(&mut self, worker: WorkerId) {
        self.unheard.insert(worker);
        if let Some(notify) = &mut self.means.registry[worker].notify {
            notify.rest();
        }
    }

    /// More is known of who has spoken: listens to them again.
    pub(super) fn hear_the_unheard(&mut self) {
        for worker in std::mem::take(&mut self.unheard) {
            if let Some(notify) =
                self.means.registry[worker].notify.as_mut().filter(|notify| !notify.is_busy())
            {
                notify.go_on();
            }
        }
    }

    fn take(&mut self, worker: WorkerId, datagram: Datagram, standing: Standing) {
        // A message from, or to, an earlier incarnation.
        let Some(live) = self.means.registry[worker].live.as_ref() else { return };
        let incarnation = live.incarnation;
        match datagram.words {
            _ if standing != Standing::Member => {
                self.refuse(incarnation, datagram.sender, "the sender is not one of its processes");
            }
            None => {
                self.refuse(incarnation, datagram.sender, "it is not in the format of sd_notify(3)")
            }
            Some(words) => words.into_iter().for_each(|word| self.take_word(incarnation, word)),
        }
    }

    /// Counted, and logged once for each incarnation: a flood of invalid messages must not flood
    /// the log.
    fn refuse(&mut self, incarnation: Incarnation, sender: i32, why: &str) {
        let Some(live) = self.means.registry.live_mut(incarnation) else { return };
        live.notify_state.refused += 1;
        if live.notify_state.refused == 1 {
            let why = why.to_owned().into();
            self.means.remark(Some(incarnation), What::NotifyRefused { sender, why });
        }
    }

    fn take_word(&mut self, incarnation: Incarnation, word: Word) {
        let waits_for_notify =
            self.means.registry[incarnation.worker].launch.ready == Ready::Notify;
        let Some(live) = self.means.registry.live_mut(incarnation) else { return };
        let now = monotonic_ns();
        live.notify_state.alive_at = now;
        match word {
            Word::Ready => {
                live.notify_state.is_reloading = false;
                if waits_for_notify {
                    self.means.note_ready(incarnation);
                }
            }
            Word::Reloading => live.notify_state.is_reloading = true,
            Word::Stopping => live.notify_state.status = Some("stopping".into()),
            Word::Status(text) => live.notify_state.status = Some(text),
            Word::Alive => {}
            Word::Trigger => self.means.say(incarnation.worker, Event::Unhealthy { incarnation }),
            Word::Extend(time) => {
                let until = Duration::from_nanos(now).saturating_add(time);
                self.means.say(incarnation.worker, Event::Extended { incarnation, until });
            }
            Word::MainPid(pid) => self.take_main_pid(incarnation, pid),
        }
    }

    /// Only a process of the process tree can be its main one. We take its handle first, so that
    /// the number means it.
    fn take_main_pid(&mut self, incarnation: Incarnation, pid: i32) {
        let domain = self.means.registry[incarnation.worker].domain;
        let Ok(pidfd) = reaper::open(pid) else { return };
        let Some(resident) = self.means.registry.resident(domain) else { return };
        let main = resident.process.child();
        let (main, is_adopted) = (main.pid, main.is_adopted);
        let is_tree = self.standing(domain, pid) == Standing::Member;
        if !is_tree {
            self.refuse(incarnation, pid, "its MAINPID is not one of its processes");
            return;
        }
        if let Some(live) = self.means.registry.live_mut(incarnation) {
            let start_time = process_table::start_time(pid).unwrap_or(0);
            live.notify_state.main =
                (pid != main).then_some(Child { pid, pidfd, start_time, is_adopted });
        }
        self.means.note_process(incarnation.worker);
    }

    /// A newline on the readiness pipe says that it is ready; the end of the pipe says that it
    /// never will.
    pub(super) fn hear_newline(&mut self, worker: WorkerId) {
        let Some(live) = self.means.registry[worker].live.as_mut() else { return };
        let Some(pipe) = &live.newline else { return };
        let mut bytes = [0; 256];
        let (is_over, is_ready) = match nix::unistd::read(pipe.as_fd(), &mut bytes) {
            Ok(0) => (true, false),
            Ok(count) => {
                let has_newline = bytes[..count].contains(&b'\n');
                (has_newline, has_newline)
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return,
            Err(_) => (true, false),
        };
        if !is_over {
            return;
        }
        let incarnation = live.incarnation;
        live.newline = None;
        if is_ready {
            self.means.note_ready(incarnation);
        }
    }

    /// Takes what the captured streams have to tell.
    pub(super) fn hear_logs(&mut self) {
        for notice in self.means.logs.notices() {
            match notice {
                Notice::Matched(token) => self.hear_line(token),
                Notice::Trouble { worker, target, error } => {
                    let (worker, target, error) = (worker.into(), target.into(), error.into());
                    self.means.remark(None, What::LogTrouble { worker, target, error });
                }
                Notice::Recovered { worker, target, lost: lost_bytes } => {
                    let (worker, target) = (worker.into(), target.into());
                    self.means.remark(None, What::LogRecovered { worker, target, lost_bytes });
                }
            }
        }
    }

    fn hear_line(&mut self, token: u64) {
        let worker = WorkerId(u32::try_from(token >> 32).unwrap_or(u32::MAX));
        let generation = token & u64::from(u32::MAX);
        let Some(live) = self.means.registry.present(worker) else { return };
        let incarnation = live.incarnation;
        if incarnation.generation.0 & u64::from(u32::MAX) == generation {
            self.means.note_ready(incarnation);
        }
    }
}
