//! The pages lead somewhere: links, headings, and the files and tests that they name.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::harness::repository;

/// README.md, CHANGELOG.md and all of docs/, with their text without blocks of code.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(repository("docs")).expect("docs").flatten();
    let names = docs.map(|entry| Path::new("docs").join(entry.file_name()));
    let names = names.chain(["README.md", "CHANGELOG.md"].map(PathBuf::from));
    let names = names.filter(|name| name.extension().is_some_and(|extension| extension == "md"));
    names.map(|name| (name.clone(), prose(&name))).collect()
}

fn prose(name: &Path) -> String {
    let path = repository(&name.display().to_string());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let outside = text.split("\n```").step_by(2);
    outside.collect::<Vec<_>>().join("\n")
}

/// What a link to a heading says: `## Known, and not supported` is `known-and-not-supported`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |title: String| -> String {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|character| if character == ' ' { '-' } else { character }).collect()
    };
    titles.map(anchor).collect()
}

/// `docs/../src` → `src`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut count = 0;
    for (page, text) in pages() {
        let directory = page.parent().expect("a directory above");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.contains(' ') {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { normal(&directory.join(file)) };
            let path = repository(&target.display().to_string());
            assert!(path.exists(), "{}: no {link}", page.display());
            let is_known = anchor.is_empty() || anchors(&prose(&target)).contains(anchor);
            assert!(is_known, "{}: {link}: no such heading", page.display());
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_architecture_names_files_and_tests_that_exist() {
    let mut files = Vec::new();
    for directory in ["supervisord-rs", "workers", "tests"] {
        list(&repository(directory), &mut files);
    }
    let ends_with = |name: &str| files.iter().any(|file| file.ends_with(name));
    let (_, text) =
        pages().into_iter().find(|(page, _)| page.ends_with("ARCHITECTURE.md")).expect("a page");
    let words = || text.split('`').skip(1).step_by(2);
    let named = words().filter(|word| word.ends_with(".rs") || word.ends_with('/'));
    let mut count = 0;
    for file in named {
        assert!(ends_with(file.trim_end_matches('/')), "docs/ARCHITECTURE.md: no {file}");
        count += 1;
    }
    assert!(count > 50, "{count}");
    let invariants = text.split_once("## Invariants").expect("a chapter").1;
    let invariants = invariants.split_once("\n## ").map_or(invariants, |(chapter, _)| chapter);
    let sources: Vec<String> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    for name in invariants.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
        let name = name.trim_end_matches("...");
        let is_test = sources.iter().any(|source| source.contains(&format!("fn {name}")));
        let is_suite = ends_with(&format!("{name}.rs"));
        assert!(is_test || is_suite, "docs/ARCHITECTURE.md: no test {name}");
    }
}

/// Each row of the tables names the test that shows it, in its last column.
#[test]
fn the_page_of_what_is_shared_names_a_test_in_each_row() {
    let mut files = Vec::new();
    for directory in ["supervisord-rs/src", "workers", "tests"] {
        list(&repository(directory), &mut files);
    }
    let is_source = |file: &&PathBuf| file.extension().is_some_and(|one| one == "rs");
    let texts = files.iter().filter(is_source).flat_map(std::fs::read_to_string);
    let sources: Vec<String> = texts.collect();
    let page = prose(Path::new("docs/shared.md"));
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| test |"));
    let mut count = 0;
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let name = last.trim_matches('`');
        let is_test = sources.iter().any(|source| source.contains(&format!("fn {name}()")));
        assert!(is_test, "docs/shared.md: no test {name}: {row}");
        count += 1;
    }
    assert!(count > 15, "{count}");
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    files.push(directory.to_owned());
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        if entry.path().is_dir() {
            list(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}
