//! The steps of a scenario: each is a mapping with one key, which says what is done.

use std::time::Duration;

use super::Reading;
use super::script::{Action, Asked, Filling, Load, Order, Phase, Step, Until};
use super::storm::Whom;
use crate::config::injections::{self, Victim};
use crate::config::later::Later;
use crate::config::node::Value;
use crate::config::probes;
use crate::config::reader::{Cursor, Section};
use crate::config::settings::{Launch, Program};

/// The keys of a step.
const STEPS: [&str; 16] = [
    "wait", "mark", "inject", "storm", "expect", "load", "kill", "signal", "pause", "resume",
    "stop", "start", "restart", "reload", "scale", "fill",
];
/// Steps of later versions.
const LATER: [Later; 2] = [
    ("squeeze", "write `limits:` into the configuration, and inject `leak`"),
    ("sleep", "write `wait: { for: 2s }`"),
];
/// What to do where injection is not allowed.
pub(super) const OFF: &str = "write `supervisor: { fault_injection: allow }` into the configuration, \
                              or into a copy of it";
/// Clients of a load, at most.
const CLIENTS_MAX: i64 = 256;
/// For what is waited for or ordered, where no `within:` is written.
const WITHIN: Duration = Duration::from_secs(10);

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
            let expected = format!("a step, such as {{ {}: ... }}", STEPS[0]);
            return cursor.refuse_value(&expected);
        };
        let section = cursor.section(&STEPS, &LATER)?;
        let mut known = STEPS.into_iter().filter(|word| section.get(word).is_some());
        let word = known.next()?;
        if let Some(second) = known.next() {
            cursor.refuse_with(
                format!("a step does one thing, and this has `{word}:` and `{second}:`"),
                "begin another step with `- ` before the second",
            );
        }
        let key = entries.iter().find(|entry| entry.key == word)?.key_span.clone();
        let line = self.line(key.start);
        let action = match word {
            "storm" => Action::Storm(Box::new(self.storm(key, &section.get(word)?)?)),
            _ => self.action(word, &section.get(word)?)?,
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
                Some(Action::Reload(number?, WITHIN))
            }
            "scale" => self.scale(cursor),
            "fill" => {
                let fillings = [("disk", Filling::Full), ("nothing", Filling::Room)];
                cursor.choice(&fillings).map(|filling| Action::Fill(filling.value))
            }
            "pause" => self.order(Order::Pause, cursor),
            "resume" => self.order(Order::Resume, cursor),
            "stop" => self.order(Order::Stop, cursor),
            "start" => self.order(Order::Start, cursor),
            _ => self.order(Order::Restart, cursor),
        }
    }

    fn wait(&self, cursor: &Cursor<'_>) -> Option<Action> {
        const WAYS: [&str; 5] = ["running", "phase", "log", "progress", "for"];
        let section =
            cursor.section(&["running", "phase", "log", "progress", "for", "within"], &[])?;
        let mut ways = WAYS.into_iter().filter_map(|way| Some((way, section.get(way)?)));
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
        if way == "for" && section.get("within").is_some() {
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
        let section = cursor.section(&["worker", "fault"], &[])?;
        let (worker, fault) = self.struck(cursor, &section)?;
        Some(Action::Inject { worker, fault, configuration: self.in_force? })
    }

    /// `worker:` and `fault:`
    pub(super) fn struck(
        &self,
        cursor: &Cursor<'_>,
        section: &Section<'_>,
    ) -> Option<(String, String)> {
        let worker = section.get("worker");
        if worker.is_none() && !section.means("worker") {
            cursor.refuse("missing `worker:`", "`worker: NAME`, in whom the fault is committed");
        }
        let worker = worker.and_then(|written| self.victim(&written));
        let Some(written) = section.get("fault") else {
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
        let known = ["http", "tcp", "clients", "for", "while", "failed", "slowest"];
        let section = cursor.section(&known, &[])?;
        let is_written = |key: &str| section.get(key).is_some() || section.means(key);
        if !is_written("http") && !is_written("tcp") {
            cursor.refuse("this asks nothing", "`http: URL` or `tcp: ADDRESS`");
        }
        probes::check(&section, cursor);
        if is_written("for") == is_written("while") {
            cursor.refuse("a load has an end", "one of: for, while");
        }
        let clients = section.get("clients").and_then(|cursor| cursor.integer(1, CLIENTS_MAX));
        let failed = section.get("failed").and_then(|cursor| cursor.integer(0, i64::MAX));
        let lasts = section.duration("for").unwrap_or_default();
        let slowest = section.duration("slowest");
        let steps = section.get("while").and_then(|steps| self.sequence(&steps));
        let asked = section.string("http").map(|at| Asked::Http(at.value));
        let asked = asked.or_else(|| section.string("tcp").map(|at| Asked::Tcp(at.value)));
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
        let whom = [("supervisor", Whom::Supervisor), ("guardian", Whom::Guardian)];
        let text = cursor.node.text();
        if text.is_some_and(|text| self.launch(text).is_some()) {
            cursor.refuse_with(
                "`kill:` is for the supervisor and its guardian",
                "write `signal: { worker: NAME, signal: KILL }`",
            );
            return None;
        }
        cursor.choice(&whom).map(|whom| Action::Kill(whom.value))
    }

    fn signal(&self, cursor: &Cursor<'_>) -> Option<Action> {
        let section = cursor.section(&["worker", "signal"], &[])?;
        for key in ["worker", "signal"] {
            if section.get(key).is_none() && !section.means(key) {
                cursor.refuse(format!("missing `{key}:`"), "`{ worker: NAME, signal: TERM }`");
            }
        }
        let workers = section.get("worker").map(|written| self.people().at_least_one(&written));
        let signal = section.get("signal").and_then(|written| written.signal());
        Some(Action::Signal { workers: workers?, signal: signal?.value })
    }

    fn scale(&self, cursor: &Cursor<'_>) -> Option<Action> {
        let section = cursor.section(&["worker", "instances", "within"], &[])?;
        for key in ["worker", "instances"] {
            if section.get(key).is_none() && !section.means(key) {
                cursor.refuse(format!("missing `{key}:`"), "`{ worker: NAME, instances: 3 }`");
            }
        }
        let worker = section.get("worker").and_then(|written| self.people().some(&written));
        let instances = section.count("instances", 0);
        Some(Action::Scale { worker: worker?, instances: instances?, within: within(&section) })
    }

    /// `stop: api`, or `stop: { workers: [api, db], within: 20s }`.
    fn order(&self, order: Order, cursor: &Cursor<'_>) -> Option<Action> {
        let Value::Map(_) = &cursor.node.value else {
            let workers = self.people().at_least_one(cursor);
            return Some(Action::Order(order, workers, WITHIN));
        };
        let section = cursor.section(&["workers", "within"], &[])?;
        let Some(written) = section.get("workers") else {
            if !section.means("workers") {
                cursor.refuse("missing `workers:`", "`{ workers: [NAME], within: 20s }`");
            }
            return None;
        };
        let workers = self.people().at_least_one(&written);
        Some(Action::Order(order, workers, within(&section)))
    }
}

/// A phase of a worker.
pub(super) fn phase(cursor: &Cursor<'_>) -> Option<Phase> {
    cursor.choice(&Phase::WORDS).map(|phase| phase.value)
}

/// `within:`, or the default.
pub(super) fn within(section: &Section<'_>) -> Duration {
    section.duration("within").unwrap_or(WITHIN)
}
