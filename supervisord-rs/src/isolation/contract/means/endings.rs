//! From an exit, or from what a board says, to an event: with the evidence kept before anything is
//! given back. Whether anything else of a process tree is left is for `remains`.

use std::time::Duration;

use supervision::{Cause, Culprit, DomainId, Ending, Event, Incarnation, Status, WorkerId};
use workers::runtime::board::{Reading, State, monotonic_ns};

use super::likely_limit::likely_limit;
use super::looks::LOOK_MAX;
use super::{Means, Process};
use crate::isolation::contract::Ended;
use crate::isolation::exits::adopted::Look;
use crate::isolation::exits::reaper;
use crate::isolation::launch::Child;
use crate::isolation::live::Gone;
use crate::isolation::watch::{Says, Token};
use crate::process_table;
use crate::record::culprit::STOPPED;
use crate::record::evidence::{self, Evidence};
use crate::record::words;
use crate::waiting::Looks;

/// The time for the guardian to report how an adopted process ended, and for a tracer to detach.
const SETTLED_LIMIT: Duration = Duration::from_millis(250);

/// What an incident says of a worker that has executed another program in its own process.
const REPLACED: &str = "it has executed another program (exec), which has taken its place";

/// So long a program has hardly begun, in nanoseconds.
const BEGINNING: u64 = 2_000_000_000;

impl Means {
    /// How the main process of a domain ended, if it has. What is not known at once is looked for a
    /// while: another process waits for one that was taken over, and of a traced one its tracer
    /// hears first.
    pub(in crate::isolation) fn look_at_main(&mut self, domain: DomainId) -> Option<Status> {
        let resident = self.registry[domain].resident.as_mut()?;
        let main = resident.process.child();
        let look = if main.is_adopted { self.exit_records.look(main) } else { look_at_child(main) };
        match look {
            Look::Alive => {
                // What was taken for an exit was none: a thread that executes another program ends
                // the others first.
                resident.unsettled = None;
                resident.process.go_on();
                None
            }
            Look::Exited(status) => Some(status),
            Look::Unsettled => {
                // Who reports may not have run either.
                let looks = resident.unsettled.get_or_insert_with(|| Looks::new(SETTLED_LIMIT));
                if looks.are_over(LOOK_MAX) {
                    return Some(if main.is_adopted {
                        Status::Unknown
                    } else {
                        reaper::status_of_traced(main)
                    });
                }
                // It would be ready for ever.
                resident.process.rest();
                self.looks.soon(domain);
                None
            }
        }
    }

    /// The main process has exited, and it had called another one its main process (`MAINPID=`,
    /// sd_notify(3)): that one is followed from now on, since we became its parent.
    pub(in crate::isolation) fn follow_main_pid(&mut self, domain: DomainId) -> bool {
        let Some(live) = self.registry.first_in(domain) else { return false };
        let is_heir = |main: &super::Child| !reaper::has_exited(&main.pidfd);
        if !live.notify_state.main.as_ref().is_some_and(is_heir) {
            return false;
        }
        let Some(heir) = live.notify_state.main.take() else { return false };
        let worker = live.incarnation.worker;
        let Some(resident) = &mut self.registry[domain].resident else { return false };
        let before = resident.process.child();
        if heir.pid == before.pid {
            return false;
        }
        let token = Token::Exit { domain: domain.0 };
        let Ok(heir) = self.watch.add(Process::Command(heir), token, Says::WhileReady) else {
            return false;
        };
        reaper::forget(before);
        resident.process = heir;
        self.note_process(worker);
        true
    }

    pub(in crate::isolation) fn members(&self, domain: DomainId) -> Vec<Incarnation> {
        self.registry.lives_in(domain).map(|live| live.incarnation).collect()
    }

    /// An incarnation has ended: what is known of it is kept, and the machine hears of it.
    pub fn end(&mut self, incarnation: Incarnation, ending: Ending) {
        self.note_end(incarnation, monotonic_ns());
        self.release(incarnation.worker);
        self.say(incarnation.worker, Event::Ended { incarnation, ending });
    }

    /// All that lived in a domain have ended with it, as one of them caused, or what an earlier run
    /// had left behind.
    pub(in crate::isolation) fn end_domain(&mut self, ended: Ended) {
        let now = monotonic_ns();
        let (culprit, spoken) = self.culprit(&ended);
        let Ended { domain, status, was_oom_killed, members, was_stopped, .. } = ended;
        let ending = evidence::of_domain(status, spoken.as_ref());
        let mut ending = evidence::with_memory(ending, was_oom_killed);
        let is_still = was_stopped && culprit == Culprit::Outsider;
        if is_still {
            ending.cause = Cause::Hang;
        }
        for &member in &members {
            self.note_end(member, now);
            self.explain(member, ending);
            if let Some((_, evidence)) = &mut self.registry[member.worker].evidence
                && is_still
            {
                evidence.message = Some(STOPPED.to_owned());
            }
            self.release(member.worker);
        }
        self.forget_threads(domain, culprit);
        self.registry[domain].changed_signals = 0;
        self.news.events.push_for_all(Event::DomainEnded { domain, members, culprit, ending });
    }

    /// Keeps what is known of an incarnation before its board goes to the next.
    pub(in crate::isolation) fn note_end(&mut self, incarnation: Incarnation, now: u64) {
        let Some(live) = self.registry.live(incarnation) else { return };
        let reading = live.sdk.as_ref().and_then(|sdk| sdk.reading(incarnation));
        let reading = reading.map(Reading::of_its_run);
        let evidence = Evidence::new(reading, now, live.struck_at);
        self.registry[incarnation.worker].evidence = Some((incarnation, evidence));
    }

    /// Adds to what is known of one that has ended alone which of its limits is likely the reason.
    /// `is_young`: it had hardly begun.
    pub(in crate::isolation) fn blame_limit(
        &mut self,
        incarnation: Incarnation,
        status: Status,
        is_young: bool,
    ) {
        let slot = &mut self.registry[incarnation.worker];
        let limits = &slot.launch.execution.limits.resources;
        if let Some(text) = likely_limit(limits, status, is_young)
            && let Some((_, evidence)) = &mut slot.evidence
        {
            evidence.message.get_or_insert(text);
        }
    }

    /// Whether one that ends has hardly begun, and nothing else has struck it.
    pub(in crate::isolation) fn is_young(&self, incarnation: Incarnation) -> bool {
        let Some(live) = self.registry.live(incarnation) else { return false };
        let age = |begun_at| monotonic_ns().saturating_sub(begun_at);
        let has_hardly_begun = live.begun_at.is_some_and(|begun_at| age(begun_at) < BEGINNING);
        has_hardly_begun && live.struck_by.is_none() && !live.is_stopping
    }

    /// Adds to what is known of one that ran out of memory how much it may have.
    pub(in crate::isolation) fn explain(&mut self, incarnation: Incarnation, ending: Ending) {
        if ending.cause != Cause::OutOfMemory {
            return;
        }
        let limit = self
            .driver_of(incarnation.worker)
            .describe(self, incarnation.worker)
            .limits
            .and_then(|limits| limits.memory);
        let text = match limit {
            Some(limit) => format!("out of memory: its limit is {} KiB", limit / 1024),
            None => {
                "out of memory: it has no limit of its own, the machine or a cgroup above it has"
                    .to_owned()
            }
        };
        if let Some((_, evidence)) = &mut self.registry[incarnation.worker].evidence {
            evidence.message.get_or_insert(text);
        }
    }

    pub(in crate::isolation) fn release(&mut self, worker: WorkerId) {
        if let Some(live) = self.registry[worker].live.take() {
            if let Some(sdk) = &live.sdk {
                // For what is left of it: threads that wait would not hear of the end.
                sdk.order_stop();
            }
            self.black_box.mirror(worker.index(), None);
            let (name, generation) =
                (&self.registry[worker].launch.name, live.incarnation.generation.0);
            for what in ["wake", "newline"] {
                self.store.forget(&format!("worker-{name}/{what}/{generation}"));
            }
        }
    }

    /// Takes from the boards of a domain what their workers have said since.
    pub(in crate::isolation) fn look_at_boards(&mut self, domain: DomainId) {
        let is_process = self.registry[domain].capabilities.has_own_process;
        let said: Vec<(Incarnation, Reading)> = self
            .registry
            .lives_in(domain)
            .filter_map(|live| {
                Some((live.incarnation, live.sdk.as_ref()?.reading(live.incarnation)?))
            })
            .collect();
        if !is_process {
            let all = said.iter().map(|(_, reading)| reading.changed_signals);
            self.note_changed_signals(domain, all.fold(0, |all, some| all | some));
        }
        for (incarnation, Reading { state, extended_until, .. }) in said {
            // The end of a process is its exit, whatever its board says.
            let ending = evidence::of_thread(state).filter(|_| !is_process);
            let Some(live) = self.registry.live(incarnation) else { continue };
            let was_ready = live.is_ready;
            if let Some(ending) = ending {
                self.end(incarnation, ending);
            } else if state == State::Ready && !was_ready {
                self.note_ready(incarnation);
            }
            self.note_extended(incarnation, extended_until);
        }
    }

    /// What signals do was changed by code in a process that workers share, and put back there.
    fn note_changed_signals(&mut self, domain: DomainId, signals: u32) {
        let new = signals & !self.registry[domain].changed_signals;
        if new == 0 {
            return;
        }
        self.registry[domain].changed_signals |= new;
        let lives = self.registry.lives_in(domain);
        let threads: Vec<&str> =
            lives.map(|live| self.registry[live.incarnation.worker].launch.name.as_str()).collect();
        tracing::warn!(
            cell = self.registry[domain].name,
            signals = words::signals(new).join(", "),
            threads = threads.join(", "),
            "a worker changed what these signals do in the process of its cell; that is put back: a \
             worker that handles or ignores signals needs `isolation: process`"
        );
    }

    /// It may have asked for patience: each time once.
    pub(super) fn note_extended(&mut self, incarnation: Incarnation, until: u64) {
        let Some(live) = self.registry.live_mut(incarnation) else { return };
        if live.extended_until != until && live.is_launched {
            live.extended_until = until;
            // Nothing asked for: the board was cleared by an order to stop.
            if until == 0 {
                return;
            }
            let until = Duration::from_nanos(until);
            self.say(incarnation.worker, Event::Extended { incarnation, until });
        }
    }

    /// The same of one whose own process was ended because it ran without it.
    pub(in crate::isolation) fn explain_gone(
        &mut self,
        incarnation: Incarnation,
        gone: Option<Gone>,
    ) {
        if gone == Some(Gone::Replaced)
            && let Some((_, evidence)) = &mut self.registry[incarnation.worker].evidence
        {
            evidence.message.get_or_insert_with(|| REPLACED.to_owned());
        }
    }

    /// The process in which the thread that the board names is no more: it has ended silently
    /// (`pthread_exit`, `SYS_exit`), or with the process.
    pub(super) fn process_without(&self, worker: WorkerId, reading: &Reading) -> Option<i32> {
        if reading.tid <= 0 {
            return None;
        }
        let pid = self.driver_of(worker).describe(self, worker).pid;
        pid.filter(|&pid| !process_table::has_thread(pid, reading.tid))
    }
}

/// The kernel may keep an exited child for its tracer (ptrace(2)): its pidfd is readable, but it
/// cannot be reaped yet.
fn look_at_child(main: &Child) -> Look {
    match reaper::peek(main) {
        Some(status) => Look::Exited(status),
        None if reaper::has_exited(&main.pidfd) => Look::Unsettled,
        None => Look::Alive,
    }
}
