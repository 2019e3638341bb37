//! A comparison for people: the table, the conclusion, and what there is to know besides.

use comfy_table::{CellAlignment, Table, presets};
use workers::fault::Fault;

use super::compare::Comparison;
use super::outcome::Trial;
use super::subject::{Subject, WATCHDOG};
use super::width;
use crate::config::Kind;
use crate::prose::list;
use crate::record::words::duration_us;

/// Workers that the table names; the others are counted.
const NAMED: usize = 8;

/// What runs for real, before it does. `None`: only the built-in workers.
#[must_use]
pub(crate) fn warning(subject: &Subject, trials: usize) -> Option<String> {
    let file = subject.file()?.display();
    let times = if trials == 1 { "once".to_owned() } else { format!("{trials} times") };
    let commands = if subject.has_commands() { &["commands"][..] } else { &[] };
    let real: Vec<&str> = commands.iter().copied().chain(subject.side_effects()).collect();
    let real = match real.as_slice() {
        [] => String::new(),
        real => format!("; its {} run for real, with the files that they name", list(real)),
    };
    Some(format!(
        "runs {file} {times} in a temporary directory, with its own sockets, state and logs{real}"
    ))
}

/// The whole report for people.
#[must_use]
pub(crate) fn table(comparison: &Comparison, room: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        format!("fault in {}", comparison.worker).as_str(),
        "isolation",
        "lost",
        "supervisor",
        "seen",
        "back",
        "work lost",
        "left over",
    ]);
    for trial in &comparison.trials {
        table.add_row(row(trial));
    }
    for column in 4..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // On a terminal that is narrower cells wrap and columns give way; elsewhere it is Markdown.
    let hidden = room
        .filter(|&room| width::is_wider(&table, room))
        .map(|room| width::fit(&mut table, room, &ranks(&comparison.trials)));
    let mut paragraphs = vec![meaning(comparison)];
    let notes = notes(comparison);
    if !notes.is_empty() {
        paragraphs.push(notes.join("\n"));
    }
    if comparison.trials.is_empty() {
        return paragraphs.join("\n\n");
    }
    if let Some(hidden) = hidden.filter(|hidden| !hidden.is_empty()) {
        let hidden = hidden.join(", ");
        paragraphs.push(format!("Not shown at this width: {hidden}. `--json` has them."));
    }
    let machine = &comparison.machine;
    paragraphs.push(format!(
        "seen, back: the time from the fault until the supervisor noticed it, and until all ran \
         again.\n\
         {} CPUs, {}; times and lost work are of this run; who was lost is the same in each.",
        machine.cpus, machine.kernel
    ));
    format!("{table}\n\n{}", paragraphs.join("\n\n"))
}

/// How soon the columns give way; the first four stay.
fn ranks(trials: &[Trial]) -> [u8; 8] {
    let has_left = trials.iter().any(|trial| !trial.leftovers.is_empty());
    let [seen, back, work] = [3, 2, 4];
    [0, 0, 0, 0, seen, back, work, if has_left { 1 } else { 5 }]
}

fn row(trial: &Trial) -> [String; 8] {
    let time = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), duration_us);
    let cell = trial.cell.as_ref().map_or_else(String::new, |cell| format!(" {cell}"));
    let supervisor = match trial.supervisor_ended {
        Some(_) => "ended",
        None if trial.supervisor_died => "died",
        None => "alive",
    };
    [
        trial.fault.clone(),
        format!(
            "{}{cell}{}",
            trial.isolation.name(),
            if is_contained(trial) { ", contained" } else { "" }
        ),
        lost_of(trial),
        supervisor.to_owned(),
        time(trial.seen_after_us),
        time(trial.back_after_us),
        trial.work_lost.map_or_else(|| "unknown".to_owned(), |lost| lost.to_string()),
        if trial.leftovers.is_empty() { "-".to_owned() } else { trial.leftovers.join(", ") },
    ]
}

/// Whether the fault is a panic that ends its worker alone.
fn is_contained(trial: &Trial) -> bool {
    trial.on_panic == "contain" && trial.kind.is_some_and(|kind| kind.entry().is_containable())
}

/// Whether the supervisor saw nothing of the fault.
const fn is_unnoticed(trial: &Trial) -> bool {
    trial.lost.is_empty() && trial.seen_after_us.is_none() && trial.supervisor_ended.is_none()
}

fn lost_of(trial: &Trial) -> String {
    match trial.lost.as_slice() {
        [] => "-".to_owned(),
        lost if lost.len() <= NAMED => lost.join(" "),
        lost => format!("{} and {} more", lost[..NAMED].join(" "), lost.len() - NAMED),
    }
}

/// The conclusion from the measurements.
fn meaning(comparison: &Comparison) -> String {
    let damage = |trial: &&Trial| {
        (trial.supervisor_ended.is_some(), trial.supervisor_died, trial.lost.len())
    };
    let trials = &comparison.trials;
    // Of equals the first: `max_by_key` would take the last.
    let worst = trials.iter().rev().max_by_key(damage);
    // What the supervisor did not notice is no achievement.
    let noticed = trials.iter().filter(|trial| !is_unnoticed(trial));
    let best = noticed.min_by_key(|trial| (damage(trial), trial.leftovers.len())).or(worst);
    let (Some(worst), Some(best)) = (worst, best) else {
        return "Nothing was measured.".to_owned();
    };
    let worker = &comparison.worker;
    if damage(&worst) == damage(&best) {
        let each = if trials.len() == 1 { case(worst, worker) } else { "Each fault".to_owned() };
        return capitalized(&format!("{each} {}{}.", took(worst, worker), why(worst)));
    }
    let worst = format!("At worst, {} {}{}.", case(worst, worker), took(worst, worker), why(worst));
    let mut others = why(best);
    if others.is_empty() && best.lost.len() == 1 && !best.survived.is_empty() {
        others = ": the others kept their processes and went on working".to_owned();
    }
    format!("{worst}\nAt best, {} {}{others}.", case(best, worker), took(best, worker))
}

/// `a segfault in b as a thread of the supervisor`.
fn case(trial: &Trial, worker: &str) -> String {
    let fault = if is_contained(trial) {
        format!("a contained {}", trial.fault)
    } else {
        named(&trial.fault)
    };
    format!("{fault} in {worker} as {}", place(trial.isolation))
}

const fn place(isolation: &'static Kind) -> &'static str {
    isolation.capabilities.place
}

/// A fault with its article.
fn named(fault: &str) -> String {
    let article = if fault.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {fault}")
}

fn took(trial: &Trial, worker: &str) -> String {
    let (lost, all) = (trial.lost.as_slice(), trial.running.len());
    let is_only = lost.len() == 1 && lost[0] == worker;
    let workers = match lost.len() {
        0 if is_unnoticed(trial) => "went unnoticed, and took no worker".to_owned(),
        0 => "took no worker".to_owned(),
        _ if is_only && trial.supervisor_died => format!("took {worker}"),
        _ if is_only => format!("took {worker} alone"),
        2 if all == 2 => "took both workers".to_owned(),
        count if count == all => format!("took all {all} workers"),
        count => format!("took {count} of {all} workers"),
    };
    if trial.supervisor_died { format!("{workers} and the supervisor") } else { workers }
}

/// Why others were lost too, where that is known.
fn why(trial: &Trial) -> String {
    if let Some(status) = trial.supervisor_ended {
        return format!(": the supervisor stopped everything and ended with exit status {status}");
    }
    let is_shared = !trial.isolation.capabilities.has_own_memory
        && (trial.supervisor_died || trial.lost.len() > 1 + trial.collateral.len());
    let restarted = format!("the configuration restarts {} with it", trial.collateral.join(" "));
    let reasons = [
        (is_shared, "what shares memory shares its fate"),
        (!trial.collateral.is_empty(), restarted.as_str()),
    ];
    let reasons: Vec<&str> =
        reasons.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect();
    if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", and ")) }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// What there is no trial of, and why: one sentence for a reason that excludes two isolations.
fn impossible(comparison: &Comparison) -> Vec<String> {
    let worker = &comparison.worker;
    let mut reasons: Vec<(&Option<String>, &str)> = Vec::new();
    for obstacle in &comparison.impossible {
        let one = (&obstacle.fault, obstacle.reason.as_str());
        if !reasons.contains(&one) {
            reasons.push(one);
        }
    }
    let sentence = |(fault, reason): (&Option<String>, &str)| {
        let those = comparison.impossible.iter();
        let those = those.filter(|other| other.fault == *fault && other.reason == reason);
        let places: Vec<&str> = those.map(|other| place(other.isolation)).collect();
        let places = places.join(" or ");
        match fault {
            Some(fault) => format!("No {fault} in {worker} as {places}: {reason}."),
            None => format!("{worker} cannot be {places}: {reason}."),
        }
    };
    reasons.into_iter().map(sentence).collect()
}

/// What the table does not show, a line each.
fn notes(comparison: &Comparison) -> Vec<String> {
    let worker = &comparison.worker;
    let mut notes = Vec::new();
    if let (Some(file), Some(written)) = (&comparison.file, comparison.written) {
        notes.push(format!("{file} runs {worker} as {}.", place(written)));
    }
    notes.extend(impossible(comparison));
    for trial in &comparison.trials {
        let case = || capitalized(&case(trial, worker));
        if !trial.not_back.is_empty() {
            let down = trial.not_back.join(", ");
            notes.push(format!("{}: did not run again: {down}.", case()));
        }
        let harm = trial.kind.and_then(|kind| kind.entry().harm);
        if let Some(harm) = harm.filter(|_| is_unnoticed(trial)) {
            let has_own = trial.isolation.capabilities.has_own_memory;
            notes.push(format!("{}: {}.", case(), harm[usize::from(has_own)]));
        } else if is_unnoticed(trial) {
            notes.push(format!(
                "{}: the supervisor noticed nothing; a `heartbeat:` or a liveness probe would.",
                case()
            ));
        }
        if trial.kind == Some(Fault::SignalStop)
            && trial.isolation.capabilities.is_of_supervisor()
            && comparison.file.is_some()
        {
            notes.push(format!("{}: `watchdog: {WATCHDOG}` held in this trial.", case()));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn every_fault_has_its_article() {
        for (fault, expected) in [
            ("abort", "an abort"),
            ("exit:0", "an exit:0"),
            ("illegal-instruction", "an illegal-instruction"),
            ("hang", "a hang"),
            ("leak", "a leak"),
        ] {
            assert_eq!(named(fault), expected);
        }
    }
}
