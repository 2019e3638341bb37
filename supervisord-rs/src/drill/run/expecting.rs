//! `expect:`, looked at until it is so, or cannot become so any more.

use std::time::{Duration, Instant};

use super::{Run, Stop};
use crate::config::Pattern;
use crate::config::scenario::script::Expectation;
use crate::drill::bed::Bed;
use crate::drill::judge::Case;
use crate::drill::look::{Fate, Look};
use crate::drill::mark::{self, Mark};
use crate::drill::verdict::Unmet;
use crate::waiting::until;

/// No expectation is judged sooner after a fault: what comes of it takes its time to be seen.
const CALM: Duration = Duration::from_millis(500);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until everything is as expected.
pub(super) fn expect(run: &mut Run<'_>, expectation: &Expectation) -> Result<(), Stop> {
    let Run { bed, marks, disturbed, .. } = run;
    let mark = marks.get(&expectation.since);
    let known = mark.map_or(0, |mark| mark.known);
    let (mut back_after, mut earlier) = (None, None);
    let mut found = vec![Unmet::new("a supervisor that answers", "none does")];
    let met = until(expectation.within.max(CALM), PAUSE, || {
        let look = Look::take(bed, known)?;
        if back_after.is_none() && mark.is_some_and(|mark| all_back(&look, mark)) {
            back_after = Some(disturbed.map_or(Duration::ZERO, |fault| fault.elapsed()));
        }
        let earlier = earlier.get_or_insert_with(|| look.progress());
        let case = Case { expectation, mark, look: &look, earlier, back_after };
        found = case.unmet();
        found.extend(unwritten(bed, expectation, mark));
        let unsettled = case.unsettled();
        if unsettled.is_none() && case.is_final() {
            return Some(false);
        }
        let is_met = found.is_empty();
        found.extend(unsettled.map(|seen| Unmet::new("all others go on as before", seen)));
        let is_calm = disturbed.is_none_or(|fault: Instant| fault.elapsed() >= CALM);
        (is_met && found.is_empty() && is_calm).then_some(true)
    });
    if met == Some(true) { Ok(()) } else { Err(Stop::Unmet(found)) }
}

/// Whether everyone that was lost runs again.
fn all_back(look: &Look, mark: &Mark) -> bool {
    let mut fates = look.fates(mark).into_iter().filter(|(_, fate)| *fate == Fate::Lost).peekable();
    let is_up = |name: &str| look.worker(name).is_some_and(|worker| worker.phase == "running");
    fates.peek().is_some() && fates.all(|(worker, _)| is_up(&worker.name))
}

/// What is not in the output of workers.
fn unwritten(bed: &Bed, expectation: &Expectation, mark: Option<&Mark>) -> Vec<Unmet> {
    let output = |name: &str| match mark {
        Some(mark) => mark.output(&bed.client, name),
        None => mark::read(&bed.client, name, &[]).map(|(lines, _)| lines),
    };
    let mut unmet = Vec::new();
    for (name, pattern) in &expectation.log {
        let lines = output(name).unwrap_or_default();
        if !lines.iter().any(|line| pattern.regex().is_match(line.as_bytes())) {
            let expected = format!("a line of {name} that matches `{}`", pattern.regex());
            unmet.push(Unmet::new(expected, format!("{} lines, and none does", lines.len())));
        }
    }
    for (name, pattern) in &expectation.numbered {
        let gap = gap(&output(name).unwrap_or_default(), pattern);
        let expected = format!("lines of {name} without a gap");
        unmet.extend(gap.map(|seen| Unmet::new(expected, seen)));
    }
    unmet
}

/// The first place where numbers do not go on by one.
fn gap(lines: &[String], pattern: &Pattern) -> Option<String> {
    let numbers = lines.iter().filter_map(|line| {
        let number = pattern.regex().captures(line.as_bytes())?.get(1)?;
        std::str::from_utf8(number.as_bytes()).ok()?.parse::<u64>().ok()
    });
    let numbers: Vec<u64> = numbers.collect();
    if numbers.len() < 2 {
        return Some(format!("{} numbered lines", numbers.len()));
    }
    let step = numbers.windows(2).find(|pair| pair[1] != pair[0].wrapping_add(1))?;
    Some(format!("after {} comes {}", step[0], step[1]))
}
