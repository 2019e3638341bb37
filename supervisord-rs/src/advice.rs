//! Which isolation a worker should have, and why: from what it is, what it costs here, what it
//! shares and what its incidents were. Decides, and changes nothing.

use serde::Serialize;

use crate::config::Kind;
use crate::config::kinds::{CELL, PROCESS, THREAD};
use crate::prose::list;

/// Of the machine's memory a worker, with all its instances, may take so much more for being
/// isolated: a hundredth.
const BUDGET: f64 = 0.01;

/// What one worker costs here, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// As a thread of the supervisor.
    pub thread: f64,
    /// In a cell, beside the cell's own process.
    pub cell: f64,
    /// As a process.
    pub process: f64,
    /// The memory of the machine.
    pub memory: f64,
}

/// Incidents of a worker: those that were not injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How many.
    pub incidents: usize,
    /// What the last one was.
    pub last: Option<String>,
    /// How many other workers one of them took along, at most; without those that were restarted
    /// because a group or a dependency demands it.
    pub taken_along: usize,
}

/// A worker as its file has it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The name that stands in the file.
    pub name: String,
    /// How many of it there are.
    pub instances: usize,
    /// Where it runs.
    pub now: &'static Kind,
    /// Whether it is an executable, and no registered code.
    pub is_command: bool,
    /// Keys of it that only a process can have.
    pub process_keys: Vec<&'static str>,
    /// Other workers of its fault domain.
    pub neighbours: Vec<String>,
    /// What it shares, with whom: of one process, or of the machine.
    pub shares: Vec<Share>,
    /// `None`: no supervisor runs that knows.
    pub history: Option<History>,
}

/// A resource that a worker has with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub resource: String,
    /// Its other users.
    pub with: Vec<String>,
    /// Whether all users have to be in one process (`scope: process`).
    pub is_of_one_process: bool,
}

/// What one worker should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The name that stands in the file.
    pub worker: String,
    /// How many of it there are.
    pub instances: usize,
    /// Where it runs: `thread`, `cell`, `process`.
    pub now: &'static Kind,
    /// Where it should run.
    pub advised: &'static Kind,
    /// Whether these differ.
    pub change: bool,
    /// How many other workers a fatal fault of it takes along now.
    pub takes_along: usize,
    /// Why, the most important reason first.
    pub reasons: Vec<String>,
}

/// What this worker should be. Without `costs` it tells nothing of memory.
#[must_use]
pub fn advise(subject: &Subject, costs: Option<&Costs>) -> Advice {
    let mut reasons = Vec::new();
    let advised = decide(subject, costs, &mut reasons);
    reasons.extend(radius(subject, advised));
    reasons.extend(shared(subject, advised));
    reasons.extend(history(subject));
    if let Some(costs) = costs.filter(|_| !subject.is_command) {
        reasons.push(format!(
            "here one of it takes {} as a process, {} in a cell, {} as a thread of the supervisor, \
             beside its own data",
            bytes(costs.process),
            bytes(costs.cell),
            bytes(costs.thread)
        ));
    }
    Advice {
        worker: subject.name.clone(),
        instances: subject.instances,
        now: subject.now,
        advised,
        change: advised != subject.now,
        takes_along: subject.neighbours.len(),
        reasons,
    }
}

/// The decision, with the reason that it was made for.
fn decide(subject: &Subject, costs: Option<&Costs>, reasons: &mut Vec<String>) -> &'static Kind {
    if subject.is_command {
        reasons.push("a `command:` is always a process".to_owned());
        return &PROCESS;
    }
    if !subject.process_keys.is_empty() {
        let keys: Vec<String> =
            subject.process_keys.iter().map(|key| format!("`{key}:`")).collect();
        reasons.push(format!("only a process can have {}", list(&keys)));
        return &PROCESS;
    }
    if let Some(bound) = subject.shares.iter().find(|share| share.is_of_one_process) {
        reasons.push(format!(
            "`{}` has `scope: process`: its users have to be in one process, which is a cell where \
             the supervisor is not to die with them",
            bound.resource
        ));
        return &CELL;
    }
    let took = subject.history.as_ref().map_or(0, |history| history.taken_along);
    if took > 0 {
        reasons.push(format!("its incidents took others along: up to {}", workers(took)));
        return &PROCESS;
    }
    let Some(costs) = costs else {
        reasons.push("a process is the only one that a fatal fault takes alone".to_owned());
        return &PROCESS;
    };
    let (count, budget) = (subject.instances.max(1) as f64, costs.memory * BUDGET);
    let (as_processes, as_cell) = (count * costs.process, count * costs.cell + costs.process);
    if as_processes <= budget {
        reasons.push(format!(
            "a fatal fault takes it alone, for {} of memory{}",
            bytes(as_processes),
            if subject.instances > 1 { " for all of it" } else { "" }
        ));
        &PROCESS
    } else if as_cell <= budget {
        reasons.push(format!(
            "{} would take {} as processes, more than a hundredth of the memory; in one cell {}",
            workers(subject.instances),
            bytes(as_processes),
            bytes(as_cell)
        ));
        &CELL
    } else {
        reasons.push(format!(
            "even a cell would take {}, more than a hundredth of the memory",
            bytes(as_cell)
        ));
        &THREAD
    }
}

/// Who dies with it now.
fn radius(subject: &Subject, advised: &'static Kind) -> Option<String> {
    let capabilities = &subject.now.capabilities;
    let mut takes = Vec::new();
    if capabilities.is_of_supervisor() {
        takes.push("the supervisor".to_owned());
    }
    match subject.neighbours.as_slice() {
        names if names.len() <= 4 => takes.extend_from_slice(names),
        names => takes.push(workers(names.len())),
    }
    if takes.is_empty() {
        return None;
    }
    let takes = list(&takes);
    let now = if advised == subject.now { "a" } else { "now a" };
    Some(format!("{now} fatal fault of it takes {takes} along"))
}

/// What it shares: a sentence for all that it shares with the same others.
fn shared(subject: &Subject, advised: &'static Kind) -> Vec<String> {
    let mut shared: Vec<(&[String], Vec<String>)> = Vec::new();
    for share in subject.shares.iter().filter(|share| !share.with.is_empty()) {
        let resource = format!("`{}`", share.resource);
        match shared.iter_mut().find(|(with, _)| *with == share.with) {
            Some((_, resources)) => resources.push(resource),
            None => shared.push((&share.with, vec![resource])),
        }
    }
    let outlives = if advised == &PROCESS {
        ": that works across processes, and survives its death"
    } else {
        ""
    };
    shared
        .iter()
        .map(|(with, resources)| {
            format!("it shares {} with {}{outlives}", list(resources), list(with))
        })
        .collect()
}

fn history(subject: &Subject) -> Option<String> {
    let history = subject.history.as_ref()?;
    let last =
        history.last.as_deref().map_or_else(String::new, |last| format!(", the last {last}"));
    Some(match history.incidents {
        0 => "no incident of it is known".to_owned(),
        1 => format!("1 incident of it is known{last}"),
        count => format!("{count} incidents of it are known{last}"),
    })
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

/// Memory for people.
fn bytes(bytes: f64) -> String {
    let (kib, mib) = (bytes / 1024.0, bytes / (1024.0 * 1024.0));
    if mib >= 10.0 {
        format!("{mib:.0} MiB")
    } else if mib >= 1.0 {
        format!("{mib:.1} MiB")
    } else {
        format!("{kib:.0} KiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs =
        Costs { thread: 40_960.0, cell: 20_480.0, process: 819_200.0, memory: 17_179_869_184.0 };

    fn subject(now: &'static Kind) -> Subject {
        Subject {
            name: "a".to_owned(),
            instances: 1,
            now,
            is_command: false,
            process_keys: Vec::new(),
            neighbours: Vec::new(),
            shares: Vec::new(),
            history: None,
        }
    }

    #[test]
    fn code_becomes_a_process_where_there_is_memory_for_it() {
        let mut subject = subject(&THREAD);
        subject.neighbours = vec!["b".to_owned(), "c".to_owned()];
        let advice = advise(&subject, Some(&COSTS));
        assert!(
            advice.change && advice.advised == &PROCESS && advice.takes_along == 2,
            "{advice:?}"
        );
        assert!(advice.reasons[0].contains("takes it alone, for 800 KiB of memory"), "{advice:?}");
        let radius = "now a fatal fault of it takes the supervisor, b and c along";
        assert_eq!(advice.reasons[1], radius);
    }

    #[test]
    fn many_become_a_cell_and_on_the_smallest_machines_threads() {
        let mut subject = subject(&PROCESS);
        subject.instances = 1000;
        let many = advise(&subject, Some(&COSTS));
        assert!(
            many.advised == &CELL && many.reasons[0].contains("781 MiB as processes"),
            "{many:?}"
        );
        let small = Costs { memory: 33_554_432.0, ..COSTS };
        let thread = advise(&subject, Some(&small));
        assert!(
            thread.advised == &THREAD && thread.reasons[0].contains("even a cell"),
            "{thread:?}"
        );
    }

    #[test]
    fn what_only_a_process_can_be_stays_one_whatever_it_costs() {
        let mut command = subject(&PROCESS);
        (command.is_command, command.instances) = (true, 100_000);
        let advice = advise(&command, Some(&COSTS));
        assert!(!advice.change && advice.reasons[0].contains("always a process"), "{advice:?}");
        let mut limited = subject(&PROCESS);
        (limited.process_keys, limited.instances) = (vec!["user", "limits"], 100_000);
        let advice = advise(&limited, Some(&COSTS));
        assert!(advice.reasons[0].contains("can have `user:` and `limits:`"), "{advice:?}");
    }

    #[test]
    fn incidents_that_took_others_along_count_more_than_memory() {
        let mut subject = subject(&CELL);
        subject.instances = 1000;
        subject.history =
            Some(History { incidents: 3, last: Some("segfault".to_owned()), taken_along: 2 });
        let advice = advise(&subject, Some(&COSTS));
        assert_eq!(advice.advised, &PROCESS);
        assert!(advice.reasons[0].contains("took others along: up to 2 workers"), "{advice:?}");
        assert!(
            advice.reasons.iter().any(|why| why.contains("3 incidents of it are known, the last"))
        );
    }

    #[test]
    fn what_one_process_holds_together_stays_in_one() {
        let mut subject = subject(&THREAD);
        subject.shares = vec![Share {
            resource: "door".to_owned(),
            with: vec!["b".to_owned()],
            is_of_one_process: true,
        }];
        let advice = advise(&subject, None);
        assert!(
            advice.advised == &CELL && advice.reasons[0].contains("`scope: process`"),
            "{advice:?}"
        );
        subject.shares[0].is_of_one_process = false;
        let advice = advise(&subject, None);
        assert!(advice.advised == &PROCESS, "{advice:?}");
        assert!(advice.reasons.iter().any(|why| why.contains("shares `door` with b: that works")));
    }

    #[test]
    fn what_it_shares_with_the_same_others_is_one_sentence() {
        let mut subject = subject(&THREAD);
        let share = |resource: &str, with: &[&str]| Share {
            resource: resource.to_owned(),
            with: with.iter().copied().map(str::to_owned).collect(),
            is_of_one_process: false,
        };
        subject.shares =
            vec![share("door", &["b", "c"]), share("jobs", &["b"]), share("ledger", &["b", "c"])];
        let said = shared(&subject, &CELL);
        assert_eq!(said, ["it shares `door` and `ledger` with b and c", "it shares `jobs` with b"]);
    }
}
