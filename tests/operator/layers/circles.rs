//! Circles: modules below one parent that import each other, with all that is below them. A parent
//! and what is below it are one thing in several files, and may use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::imports::Import;

/// Modules below one parent, each of which leads to each other one.
pub(super) struct Circle<'a> {
    /// In the order of their names.
    pub(super) modules: Vec<String>,
    imports: Vec<&'a Import<'a>>,
}

/// Imports between the children of each module.
type Edges<'a> = BTreeMap<(String, String), Vec<&'a Import<'a>>>;

pub(super) fn of<'a>(imports: &'a [Import<'a>]) -> Vec<Circle<'a>> {
    let mut below: BTreeMap<String, Edges<'a>> = BTreeMap::new();
    for import in imports {
        if let Some((parent, from, to)) = siblings(&import.from.module, &import.to.module) {
            below.entry(parent).or_default().entry((from, to)).or_default().push(import);
        }
    }
    // Those of the crate are rooms, and the layers keep their order.
    below.remove("");
    below.values().flat_map(in_one).collect()
}

/// Where two modules part: their common parent, and its children on the ways to them. `None`: one
/// is below the other.
fn siblings(from: &str, to: &str) -> Option<(String, String, String)> {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.split("::").collect(), to.split("::").collect());
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let child = |of: &[&str]| of.get(..=common).map(|names| names.join("::"));
    Some((from[..common].join("::"), child(&from)?, child(&to)?))
}

fn in_one<'a>(edges: &Edges<'a>) -> Vec<Circle<'a>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        edges.keys().map(|(from, _)| (from, reached(from, edges))).collect();
    let leads = |from: &String, to: &String| reached.get(from).is_some_and(|all| all.contains(to));
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for one in reached.keys().filter(|one| leads(one, one)) {
        let others = reached.keys().filter(|other| leads(one, other) && leads(other, one));
        circles.insert(others.map(|module| (*module).clone()).collect());
    }
    let circle = |modules: Vec<String>| {
        let within = |(from, to): &(String, String)| modules.contains(from) && modules.contains(to);
        let imports = edges
            .iter()
            .filter(|(edge, _)| within(edge))
            .flat_map(|(_, all)| all.clone())
            .collect();
        Circle { modules, imports }
    };
    circles.into_iter().map(circle).collect()
}

/// All that a module leads to.
fn reached<'a>(from: &String, edges: &'a Edges<'_>) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        for (_, to) in edges.keys().filter(|(from, _)| from == at) {
            if found.insert(to) {
                next.push(to);
            }
        }
    }
    found
}

impl fmt::Display for Circle<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a circle: {}", self.modules.join(" · "))?;
        self.imports.iter().try_for_each(|import| write!(to, "\n    {import}"))
    }
}
