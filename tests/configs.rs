//! The configurations of the repository are valid, and the three that are compared differ in one line.

mod harness;

use harness::{Bed, repository, text};

#[test]
fn every_configuration_is_valid() {
    let bed = Bed::new();
    let mut count = 0;
    for entry in std::fs::read_dir(repository("config")).expect("config/").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let output = bed.command(&["check"]).arg(&path).output().expect("it runs");
            assert!(output.status.success(), "{}", text(&output.stderr));
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn thread_cell_and_process_differ_in_one_line_only() {
    let read = |name: &str| std::fs::read_to_string(repository(&format!("config/{name}.yaml"))).expect(name);
    let process = read("process");
    for other in ["thread", "cell"] {
        let other = read(other);
        assert_eq!(process.lines().count(), other.lines().count());
        let different: Vec<_> =
            process.lines().zip(other.lines()).filter(|(left, right)| left != right).collect();
        assert_eq!(different.len(), 1, "{different:?}");
        assert!(
            different[0].0.contains("isolation: process") && different[0].1.contains("isolation: thread")
        );
    }
}
