//! From an exit, or from what a board says, to an event: with the evidence kept before anything is given back.

use supervision::spec::DomainKind;
use supervision::{DomainId, Ending, Event, Incarnation, Status, WorkerId};
use workers::board::{Reading, State, monotonic_ns};

use super::Drivers;
use crate::isolation::evidence::{self, Evidence};
use crate::isolation::live::hush;
use crate::isolation::reaper;
use std::os::fd::AsFd;

impl Drivers {
    pub(super) fn reap(&mut self, domain: DomainId) {
        let slot = &mut self.domains[domain.index()];
        let Some(resident) = &slot.resident else { return };
        let Some(status) = reaper::reap(resident.process.child()) else { return };
        let resident = slot.resident.take().expect("looked at above");
        let kind = slot.kind;
        for stream in resident.streams {
            self.capture.close(stream);
        }
        let members: Vec<Incarnation> = self
            .live
            .iter()
            .flatten()
            .filter(|live| live.domain == domain)
            .map(|live| live.incarnation)
            .collect();
        match kind {
            DomainKind::Process => {
                for incarnation in members {
                    let sdk = self.live(incarnation).and_then(|live| live.sdk.as_ref());
                    let ending = match sdk {
                        Some(sdk) => evidence::of_process(status, sdk.reading(incarnation).as_ref()),
                        None => evidence::of_command(status),
                    };
                    self.end(incarnation, ending);
                }
            }
            DomainKind::Cell | DomainKind::Supervisor => {
                self.end_domain(domain, status, members, resident.recycled_for);
            }
        }
    }

    pub(super) fn end_domain(
        &mut self,
        domain: DomainId,
        status: Status,
        members: Vec<Incarnation>,
        recycled_for: Option<Incarnation>,
    ) {
        let now = monotonic_ns();
        let readings: Vec<(Incarnation, Reading)> = members
            .iter()
            .filter_map(|&member| Some((member, self.live(member)?.sdk.as_ref()?.reading(member)?)))
            .collect();
        let culprit = recycled_for
            .or_else(|| evidence::culprit(readings.iter().map(|(member, reading)| (*member, reading))));
        let spoken = readings.iter().find(|(member, _)| Some(*member) == culprit).map(|(_, reading)| reading);
        let ending = evidence::of_domain(status, spoken);
        for &member in &members {
            self.note_end(member, now);
            self.release(member.worker);
        }
        self.events.push_back(Event::DomainEnded { domain, members, culprit, ending });
    }

    pub(super) fn end(&mut self, incarnation: Incarnation, ending: Ending) {
        self.note_end(incarnation, monotonic_ns());
        self.release(incarnation.worker);
        self.events.push_back(Event::Ended { incarnation, ending });
    }

    /// Keeps what is known of an incarnation before its board goes to the next.
    pub(super) fn note_end(&mut self, incarnation: Incarnation, now: u64) {
        let Some(live) = self.live(incarnation) else { return };
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        let evidence = Evidence::new(reading, now, live.struck_at);
        self.evidence.insert(incarnation.worker, (incarnation, evidence));
    }

    pub(super) fn release(&mut self, worker: WorkerId) {
        if let Some(live) = self.live[worker.index()].take() {
            self.capture.close_all(Some(live.streams));
            self.black_box.mirror(worker.index(), None);
        }
    }

    pub(super) fn answer_poke(&mut self, domain: DomainId) {
        if let Some(poke) = &self.domains[domain.index()].poke {
            hush(poke.as_fd());
        }
        self.look_at_boards(domain);
    }

    /// Takes from the boards of a domain what their workers have said since.
    pub(super) fn look_at_boards(&mut self, domain: DomainId) {
        let is_process = self.domains[domain.index()].kind == DomainKind::Process;
        let said: Vec<(Incarnation, State)> = self
            .live
            .iter()
            .flatten()
            .filter(|live| live.domain == domain)
            .filter_map(|live| Some((live.incarnation, live.sdk.as_ref()?.reading(live.incarnation)?.state)))
            .collect();
        for (incarnation, state) in said {
            // The end of a process is its exit, whatever its board says.
            let ending = evidence::of_thread(state).filter(|_| !is_process);
            let Some(live) = self.live_mut(incarnation) else { continue };
            let was_ready = live.is_ready;
            live.is_ready = was_ready || state == State::Ready;
            if let Some(ending) = ending {
                self.end(incarnation, ending);
            } else if state == State::Ready && !was_ready {
                self.events.push_back(Event::Ready { incarnation });
            }
        }
    }

    /// Whether the thread that the board claims is no more, though nobody said so (`pthread_exit`, `SYS_exit`).
    pub(super) fn is_thread_gone(&self, domain: DomainId, reading: &Reading) -> bool {
        let pid = match self.domains[domain.index()].kind {
            DomainKind::Supervisor => nix::unistd::getpid().as_raw(),
            DomainKind::Cell => match self.child(domain) {
                Some(child) => child.pid,
                None => return false,
            },
            // Its process lives: the machine kills what does not beat.
            DomainKind::Process => return false,
        };
        reading.tid > 0 && !std::path::Path::new(&format!("/proc/{pid}/task/{}", reading.tid)).exists()
    }
}
