//! The steps of a scenario: each is a mapping with one key, which says what is done.

use super::script::{Action, Asked, Filling, Load, Order, Phase, Step, Until};
use super::storm::Whom;
use super::terms::{OFF, PATIENCE, WITHIN, phase, within};
use super::{Reading, expecting, storming};
use crate::config::injections::{self, Victim};
use crate::config::later::Later;
use crate::config::node::Value;
use crate::config::probes;
use crate::config::reader::{Cursor, Section};
use crate::config::schema::key::{key, words};
use crate::config::schema::{Key, Kind, Table};
use crate::config::settings::{Launch, Program};

/// The keys of a step.
pub(super) static STEP: Table = Table::of(&[&[
    &WAIT, &MARK, &INJECT, &STORM, &EXPECT, &LOAD, &KILL, &SIGNAL, &PAUSE, &RESUME, &STOP, &START,
    &RESTART, &RELOAD, &SCALE, &FILL,
]])
.later(&LATER);
static WAIT: Key =
    key("wait", Kind::Section(&WAIT_TABLE), "Waits until something is so, or for a time.")
        .such_as("{ running: all, within: 10s }");
static MARK: Key =
    key("mark", Kind::Text, "Notes who runs, for `expect:` to compare with.").such_as("before");
static INJECT: Key = key("inject", Kind::Section(&FAULT_TABLE), "Commits a fault in a worker.")
    .such_as("{ worker: api, fault: segfault }");
static STORM: Key = key(
    "storm",
    Kind::Section(&storming::TABLE),
    "Commits random faults at random moments, and judges what must hold.",
)
.such_as("{ faults: [segfault], per_second: 5, for: 20s }");
pub(super) static EXPECT: Key =
    key("expect", Kind::Section(&expecting::TABLE), "What is to be so now, or within a time.")
        .such_as("{ lost: [api], supervisor: alive }");
static LOAD: Key = key(
    "load",
    Kind::Section(&LOAD_TABLE),
    "Clients that ask again and again, for a time or while other steps are done.",
)
.such_as("{ http: \"http://127.0.0.1:8080/\", clients: 8, for: 5s }");
static KILL: Key =
    key("kill", Kind::Words(&words(&KILLED)), "SIGKILL to the supervisor or its guardian.")
        .such_as("supervisor");
static SIGNAL: Key = key("signal", Kind::Section(&SIGNAL_TABLE), "Sends a signal to workers.")
    .such_as("{ worker: api, signal: TERM }");
static PAUSE: Key = key("pause", WORKERS_MEANT, "Suspends workers.").such_as("api");
static RESUME: Key = key("resume", WORKERS_MEANT, "Lets suspended workers go on.").such_as("api");
static STOP: Key = key("stop", WORKERS_MEANT, "Stops workers, and waits.").such_as("api");
static START: Key = key("start", WORKERS_MEANT, "Starts workers, and waits.").such_as("api");
static RESTART: Key = key("restart", WORKERS_MEANT, "Restarts workers, and waits.").such_as("api");
static RELOAD: Key =
    key("reload", Kind::Path, "Puts another configuration in force.").such_as("other.yaml");
static SCALE: Key = key("scale", Kind::Section(&SCALE_TABLE), "Changes the number of instances.")
    .such_as("{ worker: api, instances: 3 }");
static FILL: Key = key(
    "fill",
    Kind::Words(&words(&FILLINGS)),
    "Fills the disk of the run, a small file system of its own, or makes room on it. Needs root.",
)
.such_as("disk");

const FILLINGS: [(&str, Filling); 2] = [("disk", Filling::Full), ("nothing", Filling::Room)];
const WORKERS_MEANT: Kind =
    Kind::Either(&[Kind::OneOrMore(&Kind::Name), Kind::Section(&ORDER_TABLE)]);
const KILLED: [(&str, Whom); 2] = [("supervisor", Whom::Supervisor), ("guardian", Whom::Guardian)];

static WAIT_TABLE: Table = Table::of(&[&WAYS, &[&WITHIN]]);
static WAYS: [&Key; 5] = [&RUNNING, &PHASE, &LOG, &PROGRESS, &FOR];
static RUNNING: Key =
    key("running", Kind::OneOrMore(&Kind::Name), "Until these run, or `all`.").such_as("all");
static PHASE: Key = key(
    "phase",
    Kind::ByName("worker", &Kind::Words(&words(&Phase::WORDS))),
    "Until these are in this phase.",
)
.such_as("{ api: quarantined }");
static LOG: Key = key(
    "log",
    Kind::ByName("worker", &Kind::Pattern),
    "Until their output has a line that matches.",
)
.such_as("{ api: listening }");
static PROGRESS: Key = key(
    "progress",
    Kind::ByName("worker", &Kind::Number { low: 1, high: i64::MAX }),
    "Until they have done so many units of work more.",
)
.such_as("{ api: 100 }");
static FOR: Key = key("for", Kind::Duration, "For this time.").such_as("2s");

static FAULT_TABLE: Table = Table::of(&[&[&WORKER, &FAULT]]);
pub(super) static WORKER: Key =
    key("worker", Kind::Name, "In whom, or to whom.").such_as("api").needed();
pub(super) static FAULT: Key =
    key("fault", Kind::Text, "A name that `supervisord-rs faults` lists.")
        .such_as("segfault")
        .needed();

static LOAD_TABLE: Table =
    Table::of(&[&[&probes::HTTP, &probes::TCP, &CLIENTS, &FOR, &WHILE, &FAILED, &SLOWEST]]);
static CLIENTS: Key =
    key("clients", Kind::Number { low: 1, high: CLIENTS_MAX }, "How many ask at the same time.")
        .or("4");
static WHILE: Key = key(
    "while",
    Kind::List(&Kind::Section(&STEP)),
    "Steps that are done meanwhile; the load ends with the last.",
)
.such_as("[{ restart: api }]");
static FAILED: Key =
    key("failed", Kind::Number { low: 0, high: i64::MAX }, "So many questions may fail.").or("0");
static SLOWEST: Key = key("slowest", Kind::Duration, "No answer may take longer.").such_as("500ms");

static SIGNAL_TABLE: Table = Table::of(&[&[&WORKER, &SIGNAL_KEY]]);
static SIGNAL_KEY: Key = key("signal", Kind::Signal, "Which.").such_as("TERM").needed();
static SCALE_TABLE: Table = Table::of(&[&[&WORKER, &INSTANCES, &WITHIN]]);
static INSTANCES: Key =
    key("instances", Kind::Number { low: 0, high: u32::MAX as i64 }, "How many there shall be.")
        .such_as("3")
        .needed();
static ORDER_TABLE: Table = Table::of(&[&[&WORKERS, &WITHIN]]);
static WORKERS: Key =
    key("workers", Kind::OneOrMore(&Kind::Name), "Whom.").such_as("[api]").needed();

/// Steps of later versions.
const LATER: [Later; 2] = [
    ("squeeze", "write `limits:` into the configuration, and inject `leak`"),
    ("sleep", "write `wait: { for: 2s }`"),
];
/// Clients of a load, at most.
const CLIENTS_MAX: i64 = 256;

impl Reading<'_> {
    /// All of them.
    pub(super) fn steps(&mut self, list: &Cursor<'_>) -> Option<Vec<Step>> {
        let steps = self.sequence(list)?;
        let expects = |cursor: &Cursor<'_>| {
            ["expect", "load", "storm"].iter().any(|key| cursor.node.get(key).is_some())
        };
        if !list.list()?.iter().any(expects) {
            list.refuse_with(
                "nothing is expected, so this scenario cannot fail",
                "add a step such as `expect: { lost: [NAME] }`",
            );
        }
        Some(steps)
    }

    fn sequence(&mut self, list: &Cursor<'_>) -> Option<Vec<Step>> {
        Some(list.list()?.iter().filter_map(|cursor| self.step(cursor)).collect())
    }

    fn step(&mut self, cursor: &Cursor<'_>) -> Option<Step> {
        let Value::Map(entries) = &cursor.node.value else {
            let expected = format!("a step, such as {{ {}: ... }}", WAIT.name);
            return cursor.refuse_value(&expected);
        };
        let section = cursor.section(&STEP)?;
        let mut known = STEP.keys().filter(|key| section.has(key));
        let step = known.next()?;
        let word = step.name;
        if let Some(Key { name: second, .. }) = known.next() {
            cursor.refuse_with(
                format!("a step does one thing, and this has `{word}:` and `{second}:`"),
                "begin another step with `- ` before the second",
            );
        }
        let key = entries.iter().find(|entry| entry.key == word)?.key_span.clone();
        let line = self.line(key.start);
        let action = match word {
            "storm" => Action::Storm(Box::new(self.storm(key, &section.get(step)?)?)),
            _ => self.action(word, &section.get(step)?)?,
        };
        Some(Step { line, word, action })
    }

    fn action(&mut self, word: &str, cursor: &Cursor<'_>) -> Option<Action> {
        match word {
            "wait" => self.wait(cursor),
            "mark" => self.mark(cursor),
            "inject" => self.inject(cursor),
            "expect" => self.expectation(cursor).map(Box::new).map(Action::Expect),
            "load" => self.load(cursor).map(Box::new).map(Action::Load),
            "kill" => self.kill(cursor),
            "signal" => self.signal(cursor),
            "reload" => {
                let number = self.file(cursor);
                self.in_force = number;
                Some(Action::Reload(number?, PATIENCE))
            }
            "scale" => self.scale(cursor),
            "fill" => cursor.choice(&FILLINGS).map(|filling| Action::Fill(filling.value)),
            "pause" => self.order(Order::Pause, cursor),
            "resume" => self.order(Order::Resume, cursor),
            "stop" => self.order(Order::Stop, cursor),
            "start" => self.order(Order::Start, cursor),
            _ => self.order(Order::Restart, cursor),
        }
    }

    fn wait(&self, cursor: &Cursor<'_>) -> Option<Action> {
        let section = cursor.section(&WAIT_TABLE)?;
        let mut ways = WAYS.into_iter().filter_map(|way| Some((way.name, section.get(way)?)));
        let Some((way, written)) = ways.next() else {
            cursor.refuse("this waits for nothing", "one of: running, phase, log, progress, for");
            return None;
        };
        if let Some((second, _)) = ways.next() {
            cursor.refuse_with(
                format!("`{way}:` and `{second}:` in one wait"),
                "write two steps: the second wait begins when the first is over",
            );
        }
        if way == FOR.name && section.has(&WITHIN) {
            cursor.refuse_with("`within:` limits no `for:`", "remove one of the two");
        }
        let people = self.people();
        let until = match way {
            "running" if written.node.text() == Some("all") => Until::Running(None),
            "running" => Until::Running(Some(people.at_least_one(&written))),
            "phase" => Until::Phase(people.each(&written, phase)),
            "log" => Until::Log(
                people.each(&written, |cursor| self.patterns.read(&cursor.string()?, cursor)),
            ),
            "progress" => Until::Progress(people.each(&written, |cursor| {
                let units = cursor.integer(1, i64::MAX)?;
                u64::try_from(units.value).ok()
            })),
            _ => Until::For(written.duration()?.value),
        };
        Some(Action::Wait(until, within(&section)))
    }

    fn mark(&mut self, cursor: &Cursor<'_>) -> Option<Action> {
        let name = cursor.string()?;
        if self.marks.contains(&name.value) {
            cursor.refuse(format!("`{}` is marked twice", name.value), "a name of its own");
        } else {
            self.marks.push(name.value.clone());
        }
        Some(Action::Mark(name.value))
    }

    fn inject(&self, cursor: &Cursor<'_>) -> Option<Action> {
        let section = cursor.section(&FAULT_TABLE)?;
        let (worker, fault) = self.struck(cursor, &section)?;
        Some(Action::Inject { worker, fault, configuration: self.in_force? })
    }

    /// `worker:` and `fault:`
    pub(super) fn struck(
        &self,
        cursor: &Cursor<'_>,
        section: &Section<'_>,
    ) -> Option<(String, String)> {
        let worker = section.get(&WORKER);
        if worker.is_none() && !section.means(&WORKER) {
            cursor.refuse("missing `worker:`", "`worker: NAME`, in whom the fault is committed");
        }
        let worker = worker.and_then(|written| self.victim(&written));
        let Some(written) = section.get(&FAULT) else {
            cursor.refuse("missing `fault:`", "a name that `supervisord-rs faults` lists");
            return None;
        };
        let victim = worker.as_ref().and_then(|worker| self.launch(worker)).map(|launch| Victim {
            is_sdk: matches!(launch.program, Program::Worker { .. }),
            is_of_supervisor: launch.isolation.capabilities().is_of_supervisor(),
            is_allowed: self.allows_injection(),
            uses: &launch.uses,
        });
        injections::one(&written, victim, OFF)?;
        Some((worker?, written.string()?.value))
    }

    /// The one worker that a fault strikes.
    fn victim(&self, written: &Cursor<'_>) -> Option<String> {
        let name = self.people().some(written)?;
        let Some(number) = self.in_force else { return Some(name) };
        let launches = &self.configurations[number].settings.launches;
        if launches.iter().any(|launch| launch.name == name) {
            return Some(name);
        }
        let first = launches.iter().find(|launch| launch.base == name);
        let instead = first.map_or_else(
            || "a worker of the configuration that is in force here".to_owned(),
            |first| format!("one of its instances, such as {}", first.name),
        );
        written.refuse(format!("`{name}` is not one worker"), &instead);
        None
    }

    fn launch(&self, name: &str) -> Option<&Launch> {
        let launches = &self.configurations[self.in_force?].settings.launches;
        launches.iter().find(|launch| launch.name == name)
    }

    pub(super) fn allows_injection(&self) -> bool {
        self.in_force.is_none_or(|number| self.configurations[number].settings.spec.fault_injection)
    }

    fn load(&mut self, cursor: &Cursor<'_>) -> Option<Load> {
        let section = cursor.section(&LOAD_TABLE)?;
        let is_written = |key: &'static Key| section.has(key) || section.means(key);
        if !is_written(&probes::HTTP) && !is_written(&probes::TCP) {
            cursor.refuse("this asks nothing", "`http: URL` or `tcp: ADDRESS`");
        }
        probes::check(&section, cursor);
        if is_written(&FOR) == is_written(&WHILE) {
            cursor.refuse("a load has an end", "one of: for, while");
        }
        let clients = section.get(&CLIENTS).and_then(|cursor| cursor.integer(1, CLIENTS_MAX));
        let failed = section.get(&FAILED).and_then(|cursor| cursor.integer(0, i64::MAX));
        let lasts = section.duration(&FOR).unwrap_or_default();
        let slowest = section.duration(&SLOWEST);
        let steps = section.get(&WHILE).and_then(|steps| self.sequence(&steps));
        let asked = section.string(&probes::HTTP).map(|at| Asked::Http(at.value));
        let asked = asked.or_else(|| section.string(&probes::TCP).map(|at| Asked::Tcp(at.value)));
        Some(Load {
            asked: asked?,
            clients: clients.map_or(4, |count| u32::try_from(count.value).unwrap_or(4)),
            steps: steps.unwrap_or_default(),
            lasts,
            failed: failed.map_or(0, |count| u64::try_from(count.value).unwrap_or(0)),
            slowest,
        })
    }

    fn kill(&self, cursor: &Cursor<'_>) -> Option<Action> {
        let text = cursor.node.text();
        if text.is_some_and(|text| self.launch(text).is_some()) {
            cursor.refuse_with(
                "`kill:` is for the supervisor and its guardian",
                "write `signal: { worker: NAME, signal: KILL }`",
            );
            return None;
        }
        cursor.choice(&KILLED).map(|whom| Action::Kill(whom.value))
    }

    fn signal(&self, cursor: &Cursor<'_>) -> Option<Action> {
        let section = cursor.section(&SIGNAL_TABLE)?;
        for key in SIGNAL_TABLE.keys() {
            if !section.has(key) && !section.means(key) {
                cursor
                    .refuse(format!("missing `{}:`", key.name), "`{ worker: NAME, signal: TERM }`");
            }
        }
        let workers = section.get(&WORKER).map(|written| self.people().at_least_one(&written));
        let signal = section.get(&SIGNAL_KEY).and_then(|written| written.signal());
        Some(Action::Signal { workers: workers?, signal: signal?.value })
    }

    fn scale(&self, cursor: &Cursor<'_>) -> Option<Action> {
        let section = cursor.section(&SCALE_TABLE)?;
        for key in [&WORKER, &INSTANCES] {
            if !section.has(key) && !section.means(key) {
                cursor
                    .refuse(format!("missing `{}:`", key.name), "`{ worker: NAME, instances: 3 }`");
            }
        }
        let worker = section.get(&WORKER).and_then(|written| self.people().some(&written));
        let instances = section.count(&INSTANCES, 0);
        Some(Action::Scale { worker: worker?, instances: instances?, within: within(&section) })
    }

    /// `stop: api`, or `stop: { workers: [api, db], within: 20s }`.
    fn order(&self, order: Order, cursor: &Cursor<'_>) -> Option<Action> {
        let Value::Map(_) = &cursor.node.value else {
            let workers = self.people().at_least_one(cursor);
            return Some(Action::Order(order, workers, PATIENCE));
        };
        let section = cursor.section(&ORDER_TABLE)?;
        let Some(written) = section.get(&WORKERS) else {
            if !section.means(&WORKERS) {
                cursor.refuse("missing `workers:`", "`{ workers: [NAME], within: 20s }`");
            }
            return None;
        };
        let workers = self.people().at_least_one(&written);
        Some(Action::Order(order, workers, within(&section)))
    }
}
