//! What came of the runs of scenarios, for people.

use std::time::Duration;

use crate::cli::output::words;
use crate::drill::campaign::Outcome;
use crate::drill::junit;
use crate::drill::verdict::{Report, Verdict};

/// A line for each scenario, then what is known of each run that did not hold.
pub(super) fn print(outcome: &Outcome) {
    let reports = &outcome.reports;
    let mut names: Vec<&str> = reports.iter().map(|report| report.scenario.as_str()).collect();
    names.dedup();
    for name in &names {
        let runs: Vec<&Report> = reports.iter().filter(|one| one.scenario == *name).collect();
        let bad = runs.iter().find(|one| one.verdict != Verdict::Held);
        let verdict = bad.map_or(Verdict::Held, |one| one.verdict);
        let failed = runs.iter().filter(|one| one.verdict != Verdict::Held).count();
        let count = match (failed, runs.len()) {
            (_, 1) => String::new(),
            (0, all) => format!(", {all} runs"),
            (failed, all) => format!(", {failed} of {all} runs"),
        };
        let took: u64 = runs.iter().map(|one| one.took_ms).sum();
        let took = shown(Duration::from_millis(took));
        let vacuous = outcome.vacuous.iter().find(|one| one.scenario == *name);
        let word = if vacuous.is_some() { "VACUOUS" } else { verdict.word() };
        let _ = words(&format!("{word:<10}  {name} ({took}{count})"));
        if let Some(vacuous) = vacuous {
            let _ = words(&format!("            {}", vacuous.message()));
        }
        for storm in runs.iter().filter(|one| one.failure.is_none()).flat_map(|run| &run.storms) {
            let _ = words(&format!("            storm: {}", storm.line()));
        }
    }
    for report in reports {
        let Some(failure) = &report.failure else {
            let kept = report.directory.iter().map(|directory| directory.display());
            kept.for_each(|kept| _ = words(&format!("kept: {} in {kept}", report.title())));
            continue;
        };
        let place = failure.place();
        let told = junit::told(report, failure);
        let title = report.title();
        let _ = words(&format!("\n{}: {title}, {place}", report.verdict.word()));
        let _ = words(told.trim_end());
    }
    let held = reports.iter().filter(|one| one.verdict == Verdict::Held).count();
    let runs = if reports.len() == 1 { "run" } else { "runs" };
    let _ = words(&format!("\n{held} of {} {runs} held", reports.len()));
}

/// A time in full tenths of a second.
pub(super) fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
