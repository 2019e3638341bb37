//! `storm:`: what strikes whom at random moments, and what must hold.

use std::ops::Range;
use std::time::Duration;

use workers::fault::{Fault, Injection as Order};

use super::people::is_meant;
use super::storm::{Blow, Blows, Candidate, Choice, Injection, Invariant, Lots, Storm, Whom};
use super::terms::{OFF, WITHIN, within};
use super::{Reading, radius};
use crate::config::injections;
use crate::config::nearest::nearest;
use crate::config::problem::Problem;
use crate::config::reader::{Cursor, Section};
use crate::config::schema::key::{key, words};
use crate::config::schema::{Key, Kind, Table};
use crate::config::settings::{Program, Settings};

/// All keys.
pub(super) static TABLE: Table = Table::of(&[&DRAWN, &[&SCHEDULE, &INVARIANTS, &WITHIN]]);
/// The keys of a storm that a seed draws.
static DRAWN: [&Key; 5] = [&SEED, &FAULTS, &PER_SECOND, &FOR, &WORKERS];
static SEED: Key = key(
    "seed",
    Kind::Either(&[Kind::Words(&["random"]), Kind::Number { low: 0, high: SEED_MAX as i64 }]),
    "The same seed gives the same schedule.",
)
.or("random");
static FAULTS: Key = key(
    "faults",
    Kind::OneOrMore(&Kind::Text),
    "What strikes: faults, `kill-supervisor`, `kill-guardian`; or `all` that end a worker.",
)
.such_as("[segfault, kill-supervisor]");
static PER_SECOND: Key = key(
    "per_second",
    Kind::Share { low: 1, high: PER_SECOND_MAX },
    "Blows a second, on the average.",
)
.such_as("5");
static FOR: Key = key("for", Kind::Duration, "How long it strikes.").such_as("20s");
static WORKERS: Key =
    key("workers", Kind::OneOrMore(&Kind::Name), "Whom it strikes; all, where it is not written.")
        .such_as("[api, db]");
static SCHEDULE: Key = key(
    "schedule",
    Kind::List(&Kind::Section(&BLOW)),
    "The blows themselves, in place of a seed: a storm that was shrunk has it.",
)
.such_as("[{ after: 1s, worker: api, fault: segfault }]");
static INVARIANTS: Key = key(
    "invariants",
    Kind::OneOrMore(&Kind::Words(&invariant_words())),
    "What must hold; `all` by default.",
)
.or("all");

static BLOW: Table = Table::of(&[&[&AFTER, &PROGRESS, &VICTIM, &FAULT, &KILL]]);
static AFTER: Key = key(
    "after",
    Kind::Duration,
    "After the one before it was due; the first: after the beginning.",
)
.or("0s");
static PROGRESS: Key = key(
    "progress",
    Kind::Number { low: 1, high: PROGRESS_MAX },
    "From then on, so many units of work of the victim.",
)
.such_as("10");
static VICTIM: Key = key("worker", Kind::Name, "In whom.").such_as("api");
static FAULT: Key =
    key("fault", Kind::Text, "A name that `supervisord-rs faults` lists.").such_as("segfault");
static KILL: Key = key(
    "kill",
    Kind::Words(&words(&KILLED)),
    "SIGKILL to the supervisor or its guardian, in place of a fault.",
)
.such_as("supervisor");

const KILLED: [(&str, Whom); 2] = [("supervisor", Whom::Supervisor), ("guardian", Whom::Guardian)];

const fn invariant_words() -> [&'static str; 1 + Invariant::WORDS.len()] {
    let mut all = ["all"; 1 + Invariant::WORDS.len()];
    let mut at = 0;
    while at < Invariant::WORDS.len() {
        all[at + 1] = Invariant::WORDS[at].0;
        at += 1;
    }
    all
}

/// Blows of a storm, at most.
const BLOWS_MAX: usize = 100_000;
/// Blows a second, at most, in thousandths.
const PER_SECOND_MAX: u32 = 1_000_000;
/// Largest seed: each reader of JSON has its number exactly.
pub const SEED_MAX: u64 = (1 << 53) - 1;
/// Units of work to wait for, at most.
const PROGRESS_MAX: i64 = 1_000_000;

impl Reading<'_> {
    /// Reads it.
    pub(super) fn storm(&mut self, key: Range<usize>, cursor: &Cursor<'_>) -> Option<Storm> {
        let section = cursor.section(&TABLE)?;
        let number = self.storms;
        self.storms += 1;
        let has_schedule = section.has(&SCHEDULE) || section.means(&SCHEDULE);
        let blows = if has_schedule {
            for key in DRAWN {
                if let Some(written) = section.get(key) {
                    written.refuse_with(
                        format!("`{}:` draws a schedule, and this storm has one", key.name),
                        "remove one of the two",
                    );
                }
            }
            section.get(&SCHEDULE).and_then(|written| self.schedule(&written)).map(Blows::Written)
        } else {
            self.lots(cursor, &section).map(Blows::Drawn)
        };
        let invariants = section.get(&INVARIANTS).and_then(|written| invariants(&written));
        let within = within(&section);
        Some(Storm {
            number,
            key,
            blows: blows?,
            invariants: invariants.unwrap_or_else(|| Invariant::WORDS.map(|(_, one)| one).to_vec()),
            within,
            configuration: self.in_force?,
        })
    }

    /// What the seed draws from.
    fn lots(&self, cursor: &Cursor<'_>, section: &Section<'_>) -> Option<Lots> {
        for (key, example) in [
            (&FAULTS, "`faults: [segfault, kill-supervisor]`, or `faults: all`"),
            (&PER_SECOND, "`per_second: 5`, blows a second"),
            (&FOR, "`for: 20s`"),
        ] {
            if !section.has(key) && !section.means(key) {
                cursor.refuse(format!("missing `{}:`", key.name), example);
            }
        }
        let seed = section.get(&SEED).and_then(|written| seed(&written));
        let per_second =
            section.get(&PER_SECOND).and_then(|written| written.permille((1, PER_SECOND_MAX)));
        let lasts = section.duration(&FOR);
        let victims = self.victims(section);
        let choices = section.get(&FAULTS).and_then(|written| self.choices(&written, &victims));
        if let (Some(written), Some(choices)) = (section.get(&WORKERS), &choices) {
            self.check_all_struck(&written, &victims, choices);
        }
        let lots = Lots {
            seed: seed.flatten(),
            per_second_permille: per_second?.value,
            lasts: lasts?,
            choices: choices?,
        };
        if !(1..=BLOWS_MAX).contains(&lots.count()) {
            cursor.refuse_with(
                format!("`per_second:` and `for:` make {} blows", lots.count()),
                &format!("choose them so that there are 1 to {BLOWS_MAX}"),
            );
            return None;
        }
        Some(lots)
    }

    fn settings(&self) -> Option<&Settings> {
        self.in_force.map(|number| &self.configurations[number].settings)
    }

    /// Numbers of those that `workers:` names, or of all.
    fn victims(&self, section: &Section<'_>) -> Vec<usize> {
        let Some(settings) = self.settings() else { return Vec::new() };
        let all = || 0..settings.launches.len();
        let Some(written) = section.get(&WORKERS) else { return all().collect() };
        let names = self.people().at_least_one(&written);
        let is_named = |at: &usize| {
            let launch = &settings.launches[*at];
            names.iter().any(|name| name == "all" || is_meant(launch, name))
        };
        all().filter(is_named).collect()
    }

    /// `faults:`, a list, or `all` that end a worker.
    fn choices(&self, written: &Cursor<'_>, victims: &[usize]) -> Option<Vec<Choice>> {
        if !self.allows_injection() {
            written.refuse_with("crash injection is off", OFF);
        }
        if written.node.text() == Some("all") {
            let ending = Fault::all().filter(|fault| fault.entry().harm.is_none());
            let choice = |fault: Fault| {
                let order = fault.name().parse::<Order>().ok()?;
                let workers = self.candidates(victims, order).ok()?;
                Some(Choice::Fault { fault: fault.name().to_owned(), workers })
            };
            return Some(ending.filter_map(choice).collect());
        }
        let names = written.one_or_more()?;
        if names.is_empty() {
            written.refuse("this names no fault", "a fault, or a list of them");
        }
        Some(names.iter().filter_map(|name| self.choice(name, victims)).collect())
    }

    fn choice(&self, written: &Cursor<'_>, victims: &[usize]) -> Option<Choice> {
        let text = written.string()?;
        if let Some((_, whom)) = Whom::WORDS.into_iter().find(|(word, _)| *word == text.value) {
            return Some(Choice::Kill(whom));
        }
        if text.value.parse::<Order>().is_err() && text.value.starts_with("kill-") {
            let words = Whom::WORDS.map(|(word, _)| word);
            let problem = text.problem(format!("unknown fault `{}`", text.value));
            let problem = problem.expected(
                "a name that `supervisord-rs faults` lists, or one of: \
                                            kill-supervisor, kill-guardian",
            );
            let nearest =
                nearest(&text.value, words.into_iter().chain(Fault::all().map(Fault::name)));
            written.problems.push(Problem { nearest, ..problem });
            return None;
        }
        let order = injections::one(written, None, OFF)?;
        match self.candidates(victims, order) {
            Ok(workers) => Some(Choice::Fault { fault: text.value, workers }),
            Err(why) => {
                written.refuse_with(
                    format!("`{}` can strike none of these workers", text.value),
                    &format!("remove it, or name others: {why}"),
                );
                None
            }
        }
    }

    /// Who of these can have it.
    ///
    /// # Errors
    /// No worker; why the first cannot.
    fn candidates(&self, victims: &[usize], order: Order) -> Result<Vec<Candidate>, String> {
        // What is wrong with the configuration has been said.
        let Some(settings) = self.settings() else { return Ok(Vec::new()) };
        let (mut fit, mut why) = (Vec::new(), None);
        for &at in victims {
            match radius::obstacle(settings, at, order) {
                None => fit.push(Candidate {
                    name: settings.launches[at].name.clone(),
                    counts: matches!(settings.launches[at].program, Program::Worker { .. }),
                }),
                Some(obstacle) => why = why.or(Some(obstacle)),
            }
        }
        match why {
            Some(why) if fit.is_empty() => Err(why),
            _ => Ok(fit),
        }
    }

    /// Each worker that is named can be struck by something.
    fn check_all_struck(&self, written: &Cursor<'_>, victims: &[usize], choices: &[Choice]) {
        let Some(settings) = self.settings() else { return };
        if written.node.text() == Some("all") {
            return;
        }
        let is_struck = |name: &str| {
            choices.iter().any(|choice| match choice {
                Choice::Fault { workers, .. } => workers.iter().any(|one| one.name == *name),
                Choice::Kill(_) => false,
            })
        };
        let names = victims.iter().map(|at| settings.launches[*at].name.as_str());
        let spared: Vec<&str> = names.filter(|name| !is_struck(name)).collect();
        if !spared.is_empty() {
            written.refuse_with(
                format!("no fault of this storm can strike {}", spared.join(" ")),
                "name a fault that can, or leave them out",
            );
        }
    }

    /// `schedule:`, as a storm that was shrunk has it.
    fn schedule(&self, list: &Cursor<'_>) -> Option<Vec<Injection>> {
        let items = list.list()?;
        if items.is_empty() {
            list.refuse(
                "this schedule is empty",
                "`[{ after: 1s, worker: NAME, fault: segfault }]`",
            );
        }
        Some(items.iter().filter_map(|cursor| self.injection(cursor)).collect())
    }

    fn injection(&self, cursor: &Cursor<'_>) -> Option<Injection> {
        let section = cursor.section(&BLOW)?;
        let after = section.duration(&AFTER).unwrap_or_default();
        let progress = section.get(&PROGRESS).and_then(|one| one.integer(1, PROGRESS_MAX));
        let progress = progress.and_then(|one| u64::try_from(one.value).ok()).unwrap_or(0);
        if let Some(whom) = section.get(&KILL) {
            for key in [&PROGRESS, &VICTIM, &FAULT] {
                if let Some(written) = section.get(key) {
                    written.refuse_with(
                        format!("`{}:` beside `kill:`", key.name),
                        "write two elements",
                    );
                }
            }
            let whom = whom.choice(&KILLED)?.value;
            return Some(Injection { after, progress: 0, blow: Blow::Kill(whom) });
        }
        let (worker, fault) = self.struck(cursor, &section)?;
        if let (Some(settings), Ok(order)) = (self.settings(), fault.parse::<Order>()) {
            let at = settings.launches.iter().position(|launch| launch.name == worker)?;
            if let Some(why) = radius::vain(settings, at, order) {
                cursor.refuse_with(format!("`{fault}` cannot strike {worker} in a storm"), &why);
            }
        }
        Some(Injection { after, progress, blow: Blow::Fault { worker, fault } })
    }
}

/// A number, or `random`: `None`.
fn seed(written: &Cursor<'_>) -> Option<Option<u64>> {
    if written.node.text() == Some("random") {
        return Some(None);
    }
    let most = i64::try_from(SEED_MAX).unwrap_or(i64::MAX);
    let number = written.node.text().and_then(|text| text.parse::<i64>().ok());
    match number.filter(|number| (0..=most).contains(number)) {
        Some(number) => Some(u64::try_from(number).ok()),
        None => written.refuse_value(&format!("`random`, or a whole number from 0 to {SEED_MAX}")),
    }
}

/// Some of them, or `all`.
fn invariants(written: &Cursor<'_>) -> Option<Vec<Invariant>> {
    if written.node.text() == Some("all") {
        return None;
    }
    let list = written.one_or_more()?;
    if list.is_empty() {
        written.refuse("this storm cannot fail", "`all`, or a list of what must hold");
    }
    let one = |cursor: &Cursor<'_>| cursor.choice(&Invariant::WORDS).map(|one| one.value);
    Some(list.iter().filter_map(one).collect())
}

/// How long the blows of a schedule take to be due.
pub(crate) fn lasts(blows: &Blows) -> Duration {
    match blows {
        Blows::Drawn(lots) => lots.lasts,
        Blows::Written(schedule) => schedule.iter().map(|one| one.after).sum(),
    }
}
