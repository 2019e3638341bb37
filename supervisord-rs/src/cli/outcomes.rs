//! What came of an order, worker by worker: one line for people where all went well, a line for
//! each worker where not, with the last lines of those that failed.

use super::exit::{Exit, report};
use super::harmless::harmless;
use super::output::{json, words};
use crate::control::client::ClientError;
use crate::control::protocol::{Done, OutcomeReport};

/// Says what came of it. JSON goes to standard output also where the order failed.
pub(super) fn answer(result: Result<Done, ClientError>, as_json: bool) -> Exit {
    match result {
        Ok(done) if as_json => json(&done),
        Ok(done) => drop(words(&done.message)),
        Err(error) => return failed(&error, as_json),
    }
    Exit::Done
}

pub(super) fn failed(error: &ClientError, as_json: bool) -> Exit {
    let ClientError::Failed(failure) = error else { return report(error) };
    if as_json {
        json(failure);
    }
    if failure.outcomes.len() > 1 {
        let done = failure.outcomes.iter().filter(|report| is_done(report)).count();
        eprintln!("supervisord-rs: done for {done} of {} workers:", failure.outcomes.len());
        for outcome in &failure.outcomes {
            let line = format!("  {} {}", outcome.worker, outcome.message);
            eprintln!("{}", harmless(&line));
            last_lines(outcome);
        }
        return super::exit::of_failure(failure);
    }
    let exit = report(error);
    failure.outcomes.iter().for_each(last_lines);
    exit
}

fn is_done(outcome: &OutcomeReport) -> bool {
    !matches!(outcome.outcome.as_str(), "failed" | "superseded" | "waiting")
}

fn last_lines(outcome: &OutcomeReport) {
    for line in &outcome.last_output {
        eprintln!("    | {}", harmless(line));
    }
}
