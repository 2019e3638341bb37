//! What the tables say is what the readers do: each key is read, each example and each default is
//! valid, a default changes nothing, and a key that is misspelt, wrong or written twice is marked
//! in its line.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::find::{below, each};
use super::{Found, Key, Kind, OnlyFor, Table, find};
use crate::config::{
    Diagnostics, Located, Settings, configuration_keys, kinds, parse, scenario_keys,
};

/// Stands for the key that a test is about.
const TARGET: &str = "TARGET_KEY";
/// What examples name.
const BESIDE: &str = "
version: 1
supervisor: { fault_injection: allow }
resources:
  jobs: { kind: queue }
  gate: { kind: semaphore, permits: 4 }
  door: { kind: mutex }
workers:
  db: { command: [sleep, 1d] }
  api: { command: [sleep, 1d] }
";

/// A key with the way to it.
#[derive(Clone)]
struct Place {
    way: Vec<Step>,
    key: &'static Key,
    table: &'static Table,
}

#[derive(Clone)]
enum Step {
    Key(&'static Key, &'static Table),
    /// With what it names.
    Name(&'static str),
    Item,
}

impl Place {
    fn path(&self) -> String {
        let keys = self.way.iter().filter_map(|step| match step {
            Step::Key(key, _) => Some(key.name),
            Step::Name(_) => Some("NAME"),
            Step::Item => None,
        });
        keys.chain([self.key.name]).collect::<Vec<_>>().join(".")
    }

    /// The file in which this key has this value; `None`: in which it is not written.
    fn document(&self, value: Option<Value>) -> Value {
        let mut inner = self.around(self.table);
        if let Some(value) = value {
            inner.insert(TARGET.into(), value);
        }
        let mut inner = Value::Mapping(inner);
        for step in self.way.iter().rev() {
            inner = match step {
                Step::Name(what) => {
                    let name = match *what {
                        "block device" => "/dev/sda",
                        "worker to wait for" => "db",
                        _ => "it",
                    };
                    Value::Mapping([(name.into(), inner)].into_iter().collect())
                }
                Step::Item => Value::Sequence(vec![inner]),
                Step::Key(key, table) => {
                    let mut around = self.around(table);
                    around.remove(key.name);
                    around.insert(key.name.into(), inner);
                    Value::Mapping(around)
                }
            };
        }
        let mut document: Value = serde_yaml::from_str(BESIDE).expect("valid");
        if let (true, Some(all)) = (self.way.is_empty(), document.as_mapping_mut()) {
            all.remove(self.key.name);
        }
        if let (true, Some(all)) = (self.key.name == "fault_injection", document.as_mapping_mut()) {
            all.remove("supervisor");
        }
        merge(&mut document, inner);
        document
    }
}

impl Place {
    /// What a mapping of this table, on the way to the key, needs beside it.
    fn around(&self, table: &'static Table) -> Mapping {
        let (path, target) = (self.path(), self.key);
        let is_target = |name: &str| std::ptr::eq(table, self.table) && name == target.name;
        let needed = table.keys().filter(|key| key.is_needed && !is_target(key.name));
        let mut mapping: Mapping = needed.map(|key| (key.name.into(), sample(key))).collect();
        let mut add = |text: &str| {
            let more: Mapping = serde_yaml::from_str(text).expect("a mapping");
            mapping
                .extend(more.into_iter().filter(|(key, _)| !key.as_str().is_some_and(is_target)));
        };
        let has = |name: &str| table.key(name).is_some();
        let asks = ["tcp", "http", "exec", "startup", "readiness", "liveness"];
        if has("command") && has("worker") {
            add(match target.only_for {
                _ if is_target("args") => "{ worker: file-hasher }",
                _ if is_target("worker") => "{}",
                OnlyFor::Threads => "{ worker: sleeper, isolation: thread }",
                OnlyFor::Code => "{ worker: sleeper }",
                OnlyFor::All | OnlyFor::Commands | OnlyFor::Processes => "{ command: [sleep, 1d] }",
            });
        } else if has("successes") {
            // The way on, or the key itself, may be the question.
            let (_, way) = path.split_once(".health").unwrap_or_default();
            let is_asked = way.split('.').any(|word| asks.contains(&word));
            let is_probe = !has("startup");
            if !is_asked || is_probe && !asks.contains(&target.name) {
                add("{ exec: [\"true\"] }");
            }
        } else if has("notify") && (is_target("timeout") || is_target("every")) {
            add("{ exec: [\"true\"] }");
        } else if has("policy") && has("slice") {
            match target.name {
                "slice" => add("{ policy: batch }"),
                "priority" => add("{ policy: fifo }"),
                "runtime" | "deadline" | "period" => {
                    add("{ policy: deadline, runtime: 2ms, period: 20ms }");
                }
                _ => {}
            }
        } else if has("backlog") && ["mode", "user", "group"].contains(&target.name) {
            add("{ listen: \"unix:/run/it.sock\" }");
        }
        mapping
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Mapping(into), Value::Mapping(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(known) => merge(known, value),
                    None => drop(into.insert(key, value)),
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// A value that a key can have.
fn sample(key: &Key) -> Value {
    match (key.example, key.default) {
        (Some(text), _) | (None, Some(text)) => yaml(text),
        (None, None) => of_kind(&key.kind),
    }
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|_| text.into())
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Size => "64MiB".into(),
        Kind::Duration => "1s".into(),
        Kind::Number { low, .. } => (*low).max(1).into(),
        Kind::Words(words) => words[0].into(),
        Kind::Either(kinds) => of_kind(&kinds[0]),
        other => panic!("no sample of {other:?}: give the key an example"),
    }
}

/// Each key of a configuration.
fn places() -> Vec<Place> {
    fn walk(table: &'static Table, way: &[Step], found: &mut Vec<Place>) {
        for key in table.keys() {
            found.push(Place { way: way.to_vec(), key, table });
            // `defaults:` have the keys of workers.
            if key.name != "defaults" {
                let way = [way, &[Step::Key(key, table)]].concat();
                go(&key.kind, &way, found);
            }
        }
    }
    fn go(kind: &'static Kind, way: &[Step], found: &mut Vec<Place>) {
        match kind {
            Kind::Section(table) => walk(table, way, found),
            Kind::List(of) | Kind::OneOrMore(of) => go(of, &[way, &[Step::Item]].concat(), found),
            Kind::ByName(what, of) => {
                go(of, &[way, &[Step::Name(what)]].concat(), found);
            }
            Kind::Either(kinds) => kinds.iter().for_each(|kind| go(kind, way, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(configuration_keys(), &[], &mut found);
    found
}

fn read(text: &str) -> Result<Settings, Diagnostics> {
    parse(text, Path::new("x.yaml"), &workers::builtin::registry())
}

fn text(document: &Value) -> String {
    serde_yaml::to_string(document).expect("YAML")
}

fn shown(settings: &Settings) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        settings.spec,
        settings.launches,
        settings.supervisor,
        settings.cells,
        settings.hooks,
        settings.resources
    )
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn every_example_and_every_default_is_valid_and_a_default_changes_nothing() {
    let mut wrong = Vec::new();
    for place in places() {
        let path = place.path();
        let mut document = |value: Option<Value>| {
            let text = text(&place.document(value)).replace(TARGET, place.key.name);
            match read(&text) {
                Ok(settings) => shown(&settings),
                Err(problems) => {
                    wrong.push(format!("{path}:\n{text}\n{}", in_lines(&problems)));
                    String::new()
                }
            }
        };
        document(Some(sample(place.key)));
        if let (Some(default), false) = (place.key.default, place.key.is_needed) {
            let (written, absent) = (document(Some(yaml(default))), document(None));
            if written != absent {
                wrong.push(format!("{path}: `{default}` is not the default"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_key_is_read() {
    for place in places() {
        let text = text(&place.document(Some(sample(place.key)))).replace(TARGET, place.key.name);
        drop(read(&text));
    }
    let mut unread = Vec::new();
    each(configuration_keys(), "", &mut |above, table| {
        for key in table.keys().filter(|key| !super::key::was_asked_for(key)) {
            unread.push(format!("{above}.{}", key.name));
        }
    });
    // What stands in each entry before it is a worker.
    unread.retain(|path| !path.ends_with(".instances") && !path.starts_with("defaults."));
    // A generic key reads it.
    unread.retain(|path| !path.ends_with(".kind"));
    assert_eq!(unread, Vec::<String>::new());
}

/// The line of the target, from 1.
fn line_of(text: &str) -> usize {
    1 + text.lines().position(|line| line.contains(TARGET)).expect("the target")
}

fn in_lines(wrong: &Diagnostics) -> String {
    let all: Vec<String> = wrong.to_json().iter().map(Located::line).collect();
    all.join("\n")
}

fn lines(wrong: &Diagnostics) -> Vec<usize> {
    wrong.to_json().iter().map(|problem| problem.line).collect()
}

#[test]
fn a_key_that_is_misspelt_wrong_or_written_twice_is_marked_in_its_line() {
    let mut unmarked = Vec::new();
    for place in places() {
        let (path, name) = (place.path(), place.key.name);
        let valid = text(&place.document(Some(sample(place.key))));
        let line = line_of(&valid);
        let (first, last) = block(&valid);
        let mut check = |what: &str, text: &str, is_it: &dyn Fn(usize) -> bool| match read(text) {
            Err(wrong) if lines(&wrong).into_iter().any(is_it) => {}
            Err(wrong) => unmarked.push(format!("{path}, {what}:\n{text}\n{}", in_lines(&wrong))),
            Ok(_) => unmarked.push(format!("{path}, {what}:\n{text}\nvalid")),
        };
        let misspelt = valid.replace(TARGET, &format!("{name}q"));
        check("misspelt", &misspelt, &|marked| marked == line);
        let second = line + (last - first);
        let twice = twice(&valid).replace(TARGET, name);
        check("twice", &twice, &|marked| marked == line || marked == second);
        if matches!(place.key.kind, Kind::Anything) {
            continue;
        }
        let candidates = ["{ no: { such: thing } }", "no such thing", "[[1]]"];
        let is_marked = candidates.iter().any(|candidate| {
            let text = text(&place.document(Some(yaml(candidate))));
            let (first, last) = block(&text);
            read(&text.replace(TARGET, name)).is_err_and(|wrong| {
                lines(&wrong).iter().any(|line| (first + 1..=last).contains(line))
            })
        });
        if !is_marked {
            unmarked.push(format!("{path}: any value is valid"));
        }
    }
    assert!(unmarked.is_empty(), "{}", unmarked.join("\n\n"));
}

/// The lines of the target and of what is below it, from 0; the last is excluded.
fn block(text: &str) -> (usize, usize) {
    let lines: Vec<&str> = text.lines().collect();
    let first = line_of(text) - 1;
    let depth = |line: &str| line.find(|letter| letter != ' ' && letter != '-').unwrap_or(0);
    let own = lines[first].find(TARGET).expect("the target");
    let rest = lines[first + 1..].iter();
    let below = rest.take_while(|line| {
        depth(line) > own
            || (depth(line) > 0 && line.trim_start().starts_with('-'))
                && line.find('-').is_some_and(|dash| dash >= own)
    });
    (first, first + 1 + below.count())
}

/// The same with the target twice.
fn twice(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (first, last) = block(text);
    let again = lines[first].replacen("- TARGET", "  TARGET", 1);
    let mut all: Vec<&str> = lines[..last].to_vec();
    all.push(&again);
    all.extend(&lines[first + 1..last]);
    all.extend(&lines[last..]);
    all.join("\n")
}

#[test]
fn a_key_is_found_by_its_path_with_names_and_without_and_from_within() {
    let path = |written: &str| -> Vec<String> {
        let found = find(configuration_keys(), written).unwrap_or_else(|_| panic!("{written}"));
        found.into_iter().map(|Found { path, .. }| path).collect()
    };
    let initial = "workers.NAME.restart.backoff.initial";
    for written in [
        "workers.api.restart.backoff.initial",
        "workers.restart.backoff.initial",
        "workers.NAME.restart.backoff.initial",
        "workers.api.restart:.backoff.initial",
    ] {
        assert_eq!(path(written), [initial], "{written}");
    }
    assert_eq!(path("supervisor"), ["supervisor"]);
    assert_eq!(path("workers.api.sockets[0].listen"), ["workers.NAME.sockets.listen"]);
    assert!(path("restart.backoff").contains(&"workers.NAME.restart.backoff".to_owned()));
    assert!(path("backoff").len() > 1, "of workers and of the supervisor");
    let unknown = find(configuration_keys(), "workers.api.restart.backof").expect_err("misspelt");
    assert_eq!(unknown.nearest.as_deref(), Some("backoff"));
    assert_eq!(unknown.above, "workers.NAME.restart");
    assert!(find(configuration_keys(), "workers.api.critical.more").is_err());
}

#[test]
fn the_words_of_isolation_are_those_of_the_table_of_kinds() {
    let found = find(configuration_keys(), "workers.isolation").expect("a key");
    let Kind::Words(words) = found[0].key.kind else { panic!("words") };
    assert_eq!(words, kinds::words());
}

/// What editors show is what the tables say, and it is in the repository for those without the
/// program.
#[test]
fn the_schemas_in_the_repository_are_those_of_the_tables() {
    for (name, top, title) in [
        ("schema.json", configuration_keys(), "A configuration of supervisord-rs"),
        ("scenario.schema.json", scenario_keys(), "A scenario of supervisord-rs"),
    ] {
        let file = repository("config").join(name);
        let schema = super::json_schema(top, title);
        let now = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        if std::env::var_os("SUPERVISORD_RS_GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&file, &now).expect("writable");
        }
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == now,
            "config/{name} is not what `supervisord-rs schema` writes: \
             SUPERVISORD_RS_GOLDEN=write writes it"
        );
    }
}

#[test]
fn no_key_is_in_a_table_twice_and_each_says_what_it_means() {
    for top in [configuration_keys(), scenario_keys()] {
        each(top, "", &mut |above, table| {
            let mut names: Vec<&str> = table.keys().map(|key| key.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{above}");
            for key in table.keys() {
                assert!(key.about.ends_with('.'), "{above}.{}: {}", key.name, key.about);
                assert!(below(&key.kind, "").len() <= 7, "{above}.{}", key.name);
            }
        });
    }
}
