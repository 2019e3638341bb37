//! A scenario: a file that says what a drill does to a configuration, and what is to come of it.
//!
//! It is read like a configuration, and all that is wrong with it comes at once; so does what is
//! wrong with the configurations that it names.

mod expecting;
pub(crate) mod extent;
pub(crate) mod people;
pub(crate) mod radius;
pub mod script;
mod sometimes;
mod steps;
pub mod storm;
mod storming;
mod terms;

use std::path::Path;

use workers::Registry;

use super::Scale;
use super::assemble;
use super::code::Code;
use super::diagnostics::Diagnostics;
use super::node::{Node, Value};
use super::pattern::Patterns;
use super::problem::Problem;
use super::problems::{Problems, World};
use super::reader::{Cursor, Section};
use super::remainder;
use super::schema::key::key;
use super::schema::{Key, Kind as Shape, Table};
use super::settings::Settings;
use super::source::Source;
use people::People;
use script::{Configuration, Scenario};
use sometimes::SOMETIMES;
pub use storming::SEED_MAX;
pub(crate) use storming::lasts;

/// The keys of a scenario.
pub(super) static TABLE: Table = Table::of(&[&[
    &assemble::VERSION,
    &SCENARIO,
    &CONFIGURATION,
    &REPEAT,
    &ALREADY_BROKEN,
    &STEPS,
    &SOMETIMES,
    &FINALLY,
]]);
static SCENARIO: Key = key("scenario", Shape::Text, "Its name, in a few words.")
    .such_as("one crashed process leaves the others alone")
    .needed();
/// The thing itself may stand below it.
static CONFIGURATION: Key = key(
    "configuration",
    Shape::Either(&[Shape::Path, Shape::Section(&assemble::PART)]),
    "What is run: a file, relative to this one, or the configuration itself.",
)
.such_as("../mixed.yaml")
.needed();
static REPEAT: Key =
    key("repeat", Shape::Number { low: 1, high: REPEAT_MAX as i64 }, "How often it is run.")
        .or("1");
static ALREADY_BROKEN: Key = key(
    "already_broken",
    Shape::OneOrMore(&Shape::Name),
    "Workers that are not well before the first step, and are no finding.",
)
.such_as("[flaky]");
static STEPS: Key = key(
    "steps",
    Shape::List(&Shape::Section(&steps::STEP)),
    "What is done, and what is to come of it, one after the other.",
)
.such_as("[{ wait: { running: all } }]")
.needed();
static FINALLY: Key = key(
    "finally",
    Shape::Section(&FINALLY_TABLE),
    "What is to be so at the end. It holds whether it is written or not.",
)
.or("{ left_behind: nothing }");
static FINALLY_TABLE: Table = Table::of(&[&[&LEFT_BEHIND]]);
static LEFT_BEHIND: Key = key(
    "left_behind",
    Shape::Words(&["nothing"]),
    "No process, cgroup, mount, shared memory or file of the run is there any more.",
)
.or("nothing");

/// Most runs of one scenario.
pub const REPEAT_MAX: u32 = 10_000;

/// What the readers of steps share.
struct Reading<'a> {
    text: &'a str,
    registry: &'a Registry,
    problems: &'a Problems,
    patterns: Patterns,
    /// What the scenario names, as far as it is valid.
    configurations: Vec<Configuration>,
    /// What is wrong with the others.
    invalid: Vec<Diagnostics>,
    /// The configuration in force at this step; `None`: it is not valid.
    in_force: Option<usize>,
    /// The marks so far.
    marks: Vec<String>,
    /// Storms so far.
    storms: usize,
}

/// Whether a file is a scenario and no configuration that lies beside one: what has `workers:` and
/// neither `scenario:` nor `steps:` is a configuration.
///
/// # Errors
/// It cannot be read.
pub fn is_one(file: &Path) -> Result<bool, Diagnostics> {
    let source = Source::read(file)?;
    let problems = Problems::new(&source.path(), World::Ignored);
    let tree = remainder::parse(source.text(), &problems);
    Ok(tree.is_none_or(|tree| !is_configuration(&tree)))
}

fn is_configuration(tree: &Node) -> bool {
    let has = |key: &str| tree.get(key).is_some();
    has("workers") && !has("scenario") && !has("steps")
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, and with the configurations that it names, by file.
    pub fn read(file: &Path, registry: &Registry) -> Result<Self, Vec<Diagnostics>> {
        let source = Source::read(file).map_err(|unreadable| vec![unreadable])?;
        let problems = Problems::new(&source.path(), World::Ignored);
        let tree = remainder::parse(source.text(), &problems);
        let mut reading = Reading {
            text: source.text(),
            registry,
            problems: &problems,
            patterns: Patterns::default(),
            configurations: Vec::new(),
            invalid: Vec::new(),
            in_force: None,
            marks: Vec::new(),
            storms: 0,
        };
        let read = tree.and_then(|tree| reading.scenario(&tree, &source));
        let Reading { configurations, invalid, .. } = reading;
        let own = Diagnostics::new(file, source.text(), problems.take());
        let all: Vec<Diagnostics> =
            [own].into_iter().chain(invalid).filter(|one| one.count() > 0).collect();
        match read {
            Some(scenario) if all.is_empty() => Ok(Self { configurations, ..scenario }),
            _ => Err(all),
        }
    }
}

impl Reading<'_> {
    /// All of it, without the configurations.
    fn scenario(&mut self, tree: &Node, source: &Source) -> Option<Scenario> {
        let top = Cursor { node: tree, path: String::new(), problems: self.problems };
        if is_configuration(tree) {
            top.refuse_with(
                "this is a configuration (it has `workers:`), and not a scenario",
                "a scenario names it (`configuration: FILE`) and has `steps:`; `supervisord-rs drill \
                 init -c FILE` prints a first one",
            );
            return None;
        }
        let section = top.section(&TABLE)?;
        assemble::version(&section, tree, self.problems);
        let name = self.name(&section, tree);
        self.first_configuration(&section, tree, source);
        let repeat = section.get(&REPEAT).and_then(|cursor| cursor.integer(1, REPEAT_MAX.into()));
        let already_broken = section.get(&ALREADY_BROKEN).and_then(|cursor| {
            let names = cursor.one_or_more()?;
            Some(self.people().all(&names))
        });
        let steps = section.get(&STEPS);
        if steps.is_none() && !section.means(&STEPS) {
            self.missing(tree, "missing `steps:`", "`steps: [wait: { running: all }, ...]`");
        }
        let steps = steps.and_then(|cursor| self.steps(&cursor)).unwrap_or_default();
        let sometimes = section.get(&SOMETIMES);
        let sometimes = sometimes.and_then(|cursor| self.sometimes(&cursor, &steps));
        finally(&section);
        Some(Scenario {
            name: name.unwrap_or_default(),
            file: source.file.clone(),
            configurations: Vec::new(),
            repeat: repeat.map_or(1, |repeat| u32::try_from(repeat.value).unwrap_or(1)),
            already_broken: already_broken.unwrap_or_default(),
            steps,
            sometimes: sometimes.unwrap_or_default(),
            text: source.text().to_owned(),
            name_key: section.key_span(&SCENARIO).unwrap_or_default(),
            sometimes_key: section.key_span(&SOMETIMES),
        })
    }

    fn name(&self, section: &Section<'_>, tree: &Node) -> Option<String> {
        let Some(written) = section.get(&SCENARIO) else {
            if !section.means(&SCENARIO) {
                let expected = "`scenario: NAME`, a name in a few words";
                self.missing(tree, "missing `scenario:`", expected);
            }
            return None;
        };
        let name = written.string()?;
        if name.value.trim().is_empty() || name.value.chars().any(char::is_control) {
            return written.refuse_value("a name in a few words, in one line");
        }
        Some(name.value)
    }

    /// `configuration:`, a file or the thing itself.
    fn first_configuration(&mut self, section: &Section<'_>, tree: &Node, source: &Source) {
        let Some(cursor) = section.get(&CONFIGURATION) else {
            if !section.means(&CONFIGURATION) {
                let expected = "`configuration: FILE`, or `workers:` and the rest below it";
                self.missing(tree, "missing `configuration:`", expected);
            }
            return;
        };
        self.in_force = match &cursor.node.value {
            Value::Map(_) => {
                let source = source.clone().part(CONFIGURATION.name);
                // What is wrong with the tree itself is known.
                let problems = Problems::new(&source.path(), World::Ignored);
                let whole = Some(tree.clone());
                let read =
                    source.checked_tree(whole, &Code::new(self.registry), &Scale::new(), &problems);
                self.configuration(source, read.map(|(settings, _)| settings))
            }
            Value::Scalar { .. } => self.file(&cursor),
            Value::List(_) => cursor.refuse_value("a file, or `workers:` and the rest below it"),
        };
    }

    /// The configuration in a file that is named here.
    fn file(&mut self, cursor: &Cursor<'_>) -> Option<usize> {
        let written = cursor.path()?;
        let path = self.problems.resolve(&written.value);
        match super::read(&path) {
            Ok(text) => {
                let source = Source::of(&path, text);
                let read = source.settings(self.registry, &Scale::new());
                self.configuration(source, read)
            }
            Err(why) => {
                let message = format!("cannot read {}: {why}", written.value);
                cursor.refuse(message, "a configuration that this user may read");
                None
            }
        }
    }

    /// Keeps it, or what is wrong with it. Its number, if it is valid.
    fn configuration(
        &mut self,
        source: Source,
        read: Result<Settings, Diagnostics>,
    ) -> Option<usize> {
        match read {
            Ok(settings) => {
                self.configurations.push(Configuration { source, settings });
                Some(self.configurations.len() - 1)
            }
            Err(diagnostics) => {
                self.invalid.push(diagnostics);
                None
            }
        }
    }

    /// Whom names mean, here.
    fn people(&self) -> People<'_> {
        let known = self.in_force.map(|_| self.configurations.as_slice());
        People { known }
    }

    fn missing(&self, tree: &Node, message: &str, expected: &str) {
        let first = tree.span.start..tree.span.start + 1;
        self.problems.push(Problem::new(String::new(), first, message).expected(expected));
    }

    /// The line of a byte, from 1.
    fn line(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }
}

/// `finally: { left_behind: nothing }`, which holds whether it is written or not.
fn finally(section: &Section<'_>) {
    let finally = section.get(&FINALLY).and_then(|cursor| cursor.section(&FINALLY_TABLE));
    let left = finally.and_then(|finally| finally.get(&LEFT_BEHIND));
    let _ = left.and_then(|cursor| cursor.choice(&[("nothing", ())]));
}
