//! The table and the two sentences of a comparison.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::compare::Comparison;
use super::trial::{Setting, Trial};
use crate::record::words::duration_us;

/// `segfault in b, four threads of the supervisor`.
#[must_use]
pub(super) fn describe(setting: &Setting<'_>) -> String {
    let contained = if setting.contain { ", contained" } else { "" };
    format!("{} in b of a b c d, isolation {}{contained}", setting.fault, setting.isolation.name())
}

/// The whole report for people.
#[must_use]
pub(super) fn table(comparison: &Comparison, room: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "fault in b",
        "isolation",
        "lost",
        "supervisor",
        "seen",
        "back",
        "work lost",
        "left over",
    ]);
    // On a terminal that is narrower the cells wrap; elsewhere the table is Markdown.
    if let Some(room) = room {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(room);
    }
    for trial in &comparison.trials {
        table.add_row(row(trial));
    }
    for column in 4..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let machine = &comparison.machine;
    format!(
        "{table}\n\n{}\n\n\
         seen, back: the time from the fault until the supervisor noticed it, and until all ran again.\n\
         {} CPUs, {}; times and lost work are of this run; who was lost is the same in each.",
        meaning(&comparison.trials),
        machine.cpus,
        machine.kernel
    )
}

fn row(trial: &Trial) -> [String; 8] {
    let time = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), duration_us);
    let contained = trial.on_panic == "contain";
    [
        trial.fault.clone(),
        format!("{}{}", trial.isolation.name(), if contained { ", contained" } else { "" }),
        lost_of(trial),
        if trial.supervisor_died { "died" } else { "alive" }.to_owned(),
        time(trial.seen_after_us),
        time(trial.back_after_us),
        trial.work_lost.to_string(),
        if trial.leftovers.is_empty() { "-".to_owned() } else { trial.leftovers.join(", ") },
    ]
}

fn lost_of(trial: &Trial) -> String {
    if trial.lost.is_empty() { "-".to_owned() } else { trial.lost.join(" ") }
}

/// The conclusion from the measurements.
fn meaning(trials: &[Trial]) -> String {
    let worst = trials.iter().max_by_key(|trial| (trial.supervisor_died, trial.lost.len()));
    let best = trials
        .iter()
        .min_by_key(|trial| (trial.supervisor_died, trial.lost.len(), trial.leftovers.len()));
    let (Some(worst), Some(best)) = (worst, best) else {
        return "Nothing was measured.".to_owned();
    };
    let place = |trial: &Trial| match trial.isolation {
        super::trial::Isolation::Thread => "threads of the supervisor",
        super::trial::Isolation::Cell => "threads of a cell",
        super::trial::Isolation::Process => "processes",
    };
    let case = |trial: &Trial| {
        format!("{} in one of {} {}", trial_name(trial), trial.running.len(), place(trial))
    };
    if worst.lost.is_empty() && !worst.supervisor_died {
        return format!(
            "At worst, {} took none of them: no fault here ended a worker.",
            case(worst)
        );
    }
    let with_supervisor = if worst.supervisor_died { " and the supervisor" } else { "" };
    let at_worst = match worst.lost.len() {
        1 if !worst.supervisor_died => {
            format!("At worst, {} took only that one.", case(worst))
        }
        count => format!(
            "At worst, {} took {count} of them{with_supervisor}: what shares memory shares its fate.",
            case(worst),
        ),
    };
    let what_went = match best.lost.len() {
        count if count == best.running.len() => return at_worst,
        0 => "none of them".to_owned(),
        1 => "only that one".to_owned(),
        count => format!("{count} of them"),
    };
    format!(
        "{at_worst}\n\
         At best, {} took {what_went}: the others kept their processes and went on working.",
        case(best),
    )
}

fn trial_name(trial: &Trial) -> String {
    let article = if trial.fault.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {}", trial.fault)
}
