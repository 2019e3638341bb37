//! The configurations of the repository are valid, and the three that are compared differ in one
//! line.

use supervisord_rs::config::kinds;

use crate::harness::{Bed, repository, text};

#[test]
fn every_configuration_is_valid() {
    let bed = Bed::new();
    let mut count = 0;
    let directories =
        ["config", "config/real"].map(|name| std::fs::read_dir(repository(name)).expect(name));
    for entry in directories.into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let output = bed.command(&["check"]).arg(&path).output().expect("it runs");
            assert!(output.status.success(), "{}", text(&output.stderr));
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
}

#[test]
fn thread_cell_and_process_differ_in_one_line_only() {
    let read = |name: &str| {
        std::fs::read_to_string(repository(&format!("config/{name}.yaml"))).expect(name)
    };
    let process = read("process");
    for other in ["thread", "cell"] {
        let other = read(other);
        assert_eq!(process.lines().count(), other.lines().count());
        let different: Vec<_> =
            process.lines().zip(other.lines()).filter(|(left, right)| left != right).collect();
        assert_eq!(different.len(), 1, "{different:?}");
        assert!(
            different[0].0.contains("isolation: process")
                && different[0].1.contains("isolation: thread")
        );
    }
}

#[test]
fn the_reference_states_the_real_defaults() {
    let written =
        std::fs::read_to_string(repository("config/reference.yaml")).expect("reference.yaml");
    let bare = "version: 1\ngroups: { together: { workers: [program, code] } }\nworkers:\n  \
        program: { command: [sleep, 1d] }\n  code: { worker: sleeper }\n";
    let registry = workers::builtin::registry();
    let parse = |text: &str| {
        supervisord_rs::config::parse(text, std::path::Path::new("x.yaml"), &registry)
            .expect("valid")
    };
    let (written, bare) = (parse(&written), parse(bare));
    assert_eq!(written.spec, bare.spec);
    assert_eq!(format!("{:?}", written.launches), format!("{:?}", bare.launches));
    assert_eq!(format!("{:?}", written.supervisor), format!("{:?}", bare.supervisor));
}

#[test]
fn the_documented_faults_are_those_of_the_catalogue() {
    let text = std::fs::read_to_string(repository("docs/faults.md")).expect("faults.md");
    for fault in workers::fault::Fault::all() {
        let entry = fault.entry();
        let row = format!(
            "| `{}` | {} | {} | {} | {} | {} |",
            entry.name,
            entry.summary,
            entry.ending,
            entry.shared.word(),
            entry.shared_contain.word(),
            entry.process.word()
        );
        assert!(text.contains(&row), "not in docs/faults.md:\n{row}");
    }
}

#[test]
fn the_documented_isolations_are_those_of_the_table() {
    let page = |name: &str| std::fs::read_to_string(repository(name)).expect(name);
    let row = |page: &str, start: &str| {
        let row = page.lines().find(|line| line.starts_with(start));
        row.unwrap_or_else(|| panic!("no row {start}")).to_owned()
    };
    let keys = page("docs/configuration.md");
    let key = row(&keys, &format!("| `isolation` | `{}` |", kinds::DEFAULT.word));
    for kind in kinds::ALL {
        assert!(key.contains(&format!("`{}`", kind.word)), "{} is not in {key}", kind.word);
        let is_with_cell = key.contains("`cell`") || !kind.capabilities.is_shared();
        assert!(is_with_cell, "{} needs `cell`: {key}", kind.name());
    }
    let compared = row(&page("docs/cli.md"), "| isolation of NAME |");
    let names = kinds::names().join(", ");
    assert!(compared.contains(&names), "`compare` tries {names}: {compared}");
}

#[test]
fn no_mutation_of_a_configuration_panics() {
    let text = std::fs::read_to_string(repository("config/mixed.yaml")).expect("mixed.yaml");
    let registry = workers::builtin::registry();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..5000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=random() % 4 {
            // A mutation may have removed the last byte.
            if bytes.is_empty() {
                break;
            }
            let at = random() % bytes.len();
            match random() % 4 {
                0 => bytes[at] = b"{}[]:,&*!|>'\"%@\n\t -#~0a"[random() % 23],
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, (random() % 128) as u8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mutated = String::from_utf8_lossy(&bytes);
        if let Err(problems) =
            supervisord_rs::config::parse(&mutated, std::path::Path::new("x.yaml"), &registry)
        {
            assert!(!problems.problems().is_empty(), "refused without a reason:\n{mutated}");
            let _ = (problems.to_string(), problems.to_json());
        }
    }
    let bomb = "version: 1\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
        c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n\
                f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    for hostile in [bomb.to_owned(), "[".repeat(100_000), "a: ".repeat(10_000)] {
        assert!(
            supervisord_rs::config::parse(&hostile, std::path::Path::new("x.yaml"), &registry)
                .is_err()
        );
    }
}

#[test]
fn each_claim_of_the_comparison_has_its_test() {
    let text = std::fs::read_to_string(repository("docs/comparison.md"))
        .expect("comparison.md")
        .replace('\n', " ");
    let mut count = 0;
    for (before, after) in text.match_indices("](../").map(|(at, _)| text.split_at(at)) {
        let name = before.rsplit_once('[').expect("a link").1.replace(' ', "_");
        let file = after["](../".len()..].split_once(')').expect("a link").0;
        let tests = std::fs::read_to_string(repository(file)).expect(file);
        assert!(tests.contains(&format!("\n#[test]\nfn {name}()")), "no test {name} in {file}");
        count += 1;
    }
    assert!(count > 80, "{count}");
}
