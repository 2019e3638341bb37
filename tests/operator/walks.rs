//! `docs/ARCHITECTURE.md` walks through files that are there, and through none twice.

use std::collections::BTreeSet;
use std::path::Path;

/// The most files of a walk: what is longer has no shape.
const MOST: usize = 15;

#[test]
fn each_walk_goes_through_few_files_that_are_there_and_through_none_twice() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let page = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).expect("it is there");
    let (_, walks) = page.split_once("## The walks").expect("it has walks");
    let (walks, _) = walks.split_once("\n## ").expect("more follows");
    let mut count = 0;
    for walk in walks.split("\n**").skip(1) {
        count += 1;
        let (name, steps) = walk.split_once("**").expect("a name in bold");
        let files = steps.lines().filter_map(|line| {
            let (number, rest) = line.split_once(". `")?;
            number.parse::<usize>().ok().and(rest.split_once('`')).map(|(file, _)| file)
        });
        let mut seen = BTreeSet::new();
        for file in files {
            assert!(seen.insert(file), "{name} {file} comes twice");
            let places = ["supervisord-rs/src", "supervisord-rs", ""];
            let is_there = places.iter().any(|place| root.join(place).join(file).is_file());
            assert!(is_there, "{name} {file} is not there");
        }
        assert!((5..=MOST).contains(&seen.len()), "{name} {} files", seen.len());
    }
    assert_eq!(count, 6);
}
