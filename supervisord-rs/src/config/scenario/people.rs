//! Whom a scenario names.

use crate::config::nearest::{nearest, one_of};
use crate::config::problem::Problem;
use crate::config::reader::Cursor;
use crate::config::scenario::script::Configuration;
use crate::config::settings::Launch;

/// The workers of all configurations so far; `None`: one of them is not valid, and any name may be
/// one of its workers.
pub(in crate::config) struct People<'a> {
    pub(in crate::config) known: Option<&'a [Configuration]>,
}

impl People<'_> {
    /// A name that means workers: one, the one that instances share, `GROUP:` or `all`.
    pub(super) fn some(&self, cursor: &Cursor<'_>) -> Option<String> {
        let name = cursor.string()?;
        let Some(known) = self.known else { return Some(name.value) };
        let launches = || known.iter().flat_map(|one| &one.settings.launches);
        if name.value == "all" || launches().any(|launch| is_meant(launch, &name.value)) {
            return Some(name.value);
        }
        let mut words: Vec<&str> = Vec::new();
        for launch in launches() {
            for word in [launch.name.as_str(), launch.base.as_str()] {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        cursor.problems.push(Problem {
            nearest: nearest(&name.value, words.iter().copied()),
            expected: Some(one_of(words.iter().copied())),
            ..name.problem(format!("unknown worker `{}`", name.value))
        });
        None
    }

    /// The same of each.
    pub(super) fn all(&self, cursors: &[Cursor<'_>]) -> Vec<String> {
        cursors.iter().filter_map(|cursor| self.some(cursor)).collect()
    }

    /// The names at a key whose list must not be empty, or may stand without brackets.
    pub(super) fn at_least_one(&self, cursor: &Cursor<'_>) -> Vec<String> {
        let names = cursor.one_or_more().unwrap_or_default();
        if names.is_empty() && cursor.list().is_some() {
            cursor.refuse("this names no worker", "a worker, or a list of them");
        }
        self.all(&names)
    }

    /// Workers with a value each.
    pub(super) fn each<T>(
        &self,
        cursor: &Cursor<'_>,
        value: impl Fn(&Cursor<'_>) -> Option<T>,
    ) -> Vec<(String, T)> {
        let entries = cursor.entries().unwrap_or_default();
        if entries.is_empty() && cursor.node.is_null() {
            cursor.refuse("this names no worker", "`{ WORKER: VALUE }`");
        }
        let mut read = Vec::new();
        for (name, written) in entries {
            let value = value(&written);
            let name = Cursor {
                node: &written.node.scalar_at(&name.span, &name.value),
                path: name.path,
                problems: cursor.problems,
            };
            if let (Some(name), Some(value)) = (self.some(&name), value) {
                read.push((name, value));
            }
        }
        read
    }
}

/// Whether a name means this worker. After `scale` there may be instances of any number.
pub(crate) fn is_meant(launch: &Launch, name: &str) -> bool {
    let is_instance = |name: &str| {
        let parts = crate::config::instances::parts(name);
        launch.instance.is_some() && parts.is_some_and(|(base, _)| base == launch.base)
    };
    let is_group = |name: &str| launch.group == name || launch.base == name;
    launch.name == name
        || launch.base == name
        || is_instance(name)
        || name.strip_suffix(':').is_some_and(is_group)
}
