//! A schedule as a scenario: the text of the storm's own file with another storm in it, so that
//! everything else of it stays as its author wrote it.

use std::fmt::Write as _;

use crate::config::scenario::extent::of_value;
use crate::config::scenario::script::Scenario;
use crate::config::scenario::storm::{Blow, Injection, Invariant, Storm, Whom};

/// The text. `comment`: its first lines, without `#`.
#[must_use]
pub(in crate::drill) fn written(
    scenario: &Scenario,
    storm: &Storm,
    schedule: &[Injection],
    comment: &[String],
) -> String {
    let text = scenario.text.as_str();
    let name = format!("{:?}", format!("{}, shrunk", scenario.name));
    let mut changes = vec![
        (of_value(text, &scenario.name_key), name),
        (of_value(text, &storm.key), value(text, storm, schedule)),
    ];
    // What a campaign of the whole storm must have reached, a part of it need not.
    let sometimes = scenario.sometimes_key.as_ref().map(|key| of_value(text, key));
    changes.extend(sometimes.map(|place| (place, "[]".to_owned())));
    changes.sort_by_key(|(place, _)| place.start);
    let mut result = String::new();
    for line in comment {
        let _ = writeln!(result, "# {}", line.replace(char::is_control, " "));
    }
    let mut from = 0;
    for (place, change) in changes {
        result.push_str(&text[from..place.start]);
        result.push_str(&change);
        from = place.end;
    }
    result.push_str(&text[from..]);
    result
}

/// The storm in brackets, which stand wherever a mapping without them stood.
fn value(text: &str, storm: &Storm, schedule: &[Injection]) -> String {
    let line = text[..storm.key.start].rfind('\n').map_or(0, |at| at + 1);
    let indent = " ".repeat(text[line..storm.key.start].chars().count() + 4);
    let mut value = "{\n".to_owned();
    let _ = writeln!(value, "{indent}schedule: [");
    for injection in schedule {
        let _ = writeln!(value, "{indent}  {},", one(injection));
    }
    let _ = writeln!(value, "{indent}],");
    let words = Invariant::WORDS.into_iter().filter(|(_, one)| storm.invariants.contains(one));
    let words: Vec<&str> = words.map(|(word, _)| word).collect();
    let _ = writeln!(value, "{indent}invariants: [{}],", words.join(", "));
    let within = humantime::format_duration(storm.within);
    let _ = write!(value, "{indent}within: {within} }}");
    value
}

fn one(injection: &Injection) -> String {
    let Injection { after, progress, blow } = injection;
    let mut parts = Vec::new();
    if !after.is_zero() {
        parts.push(format!("after: {}", humantime::format_duration(*after)));
    }
    if *progress > 0 {
        parts.push(format!("progress: {progress}"));
    }
    parts.push(match blow {
        // Names have no letters that mean something in YAML but for these.
        Blow::Fault { worker, fault } => format!("worker: {worker:?}, fault: {fault:?}"),
        Blow::Kill(Whom::Supervisor) => "kill: supervisor".to_owned(),
        Blow::Kill(Whom::Guardian) => "kill: guardian".to_owned(),
    });
    format!("{{ {} }}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::scenario::script::Action;
    use crate::config::scenario::storm::Blows;

    const CONFIGURATION: &str = "configuration: # whose
  supervisor: { fault_injection: allow }
  workers: { a: { worker: ticker }, b: { worker: ticker } }
";

    fn read(text: &str) -> Scenario {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("storm.yaml");
        std::fs::write(&file, text).expect("written");
        let registry = workers::builtin::registry();
        Scenario::read(Path::new(&file), &registry)
            .unwrap_or_else(|wrong| panic!("{}\n{text}", wrong[0]))
    }

    fn storm(scenario: &Scenario) -> &Storm {
        let storms = scenario.steps.iter().find_map(|step| match &step.action {
            Action::Storm(storm) => Some(storm),
            _ => None,
        });
        storms.expect("one")
    }

    #[test]
    fn what_is_written_reads_as_the_same_schedule_in_the_same_surroundings() {
        let schedule = [
            Injection {
                after: Duration::from_millis(1250),
                progress: 3,
                blow: Blow::Fault { worker: "a".to_owned(), fault: "exit:3".to_owned() },
            },
            Injection { after: Duration::ZERO, progress: 0, blow: Blow::Kill(Whom::Supervisor) },
        ];
        let flow = "  - storm: { seed: 7, faults: [segfault], per_second: 5, for: 2s, \
                    invariants: [radius, back], within: 3s } # all of it\n";
        let block = "  - storm:\n      seed: 7\n      faults: [segfault]\n      per_second: 5\n      \
                     for: 2s\n      invariants: [radius, back]\n      within: 3s\n";
        for written_storm in [flow, block] {
            for before in [true, false] {
                let sometimes = "sometimes:\n  - { fault: segfault }\n";
                let (first, last) = if before { (sometimes, "") } else { ("", sometimes) };
                let text = format!(
                    "version: 1\nscenario: it's a \"storm\"\n{CONFIGURATION}{first}steps:\n  \
                     - wait: {{ running: all }}\n{written_storm}  - mark: after\n{last}finally: {{ \
                     left_behind: nothing }}\n"
                );
                let scenario = read(&text);
                let comment = ["why\nand how".to_owned()];
                let shrunk = written(&scenario, storm(&scenario), &schedule, &comment);
                let again = read(&shrunk);
                assert!(shrunk.starts_with("# why and how\nversion: 1\n"), "{shrunk}");
                assert!(shrunk.contains(CONFIGURATION), "{shrunk}");
                assert_eq!(again.name, "it's a \"storm\", shrunk");
                assert_eq!((again.steps.len(), again.sometimes.len()), (3, 0), "{shrunk}");
                let storm = storm(&again);
                assert_eq!(storm.within, Duration::from_secs(3));
                assert_eq!(storm.invariants, [Invariant::Radius, Invariant::Back]);
                let Blows::Written(read) = &storm.blows else { panic!("{shrunk}") };
                assert_eq!(*read, schedule, "{shrunk}");
            }
        }
    }
}
