//! Where reading collects what it finds: errors, which make a file invalid, and warnings, which do
//! not.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::places;
use super::problem::Problem;
use crate::stable_hash::stable_hash;

/// Problems that are kept and shown: a file with more has one reason for most of them.
pub(super) const KEPT: usize = 100;

/// Whether the reader also looks at what the file speaks of: executables, directories, users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum World {
    /// The text alone: the same answer on every machine.
    #[default]
    Ignored,
    /// This machine too. What is missing here is a warning.
    Seen,
}

/// Shared by all readers, so that reading a value is one expression; and the file that paths are
/// relative to.
#[derive(Debug)]
pub(super) struct Problems {
    found: RefCell<Found>,
    file: PathBuf,
    world: World,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first errors.
    pub(super) kept: Vec<Problem>,
    /// How many errors there are.
    pub(super) count: usize,
    /// The first warnings.
    pub(super) warnings: Vec<Problem>,
    /// What is wrong under `defaults:` is wrong for every worker, and is one problem; so is what
    /// all instances share.
    seen: HashSet<u64>,
    passed_over: Vec<Range<usize>>,
}

impl Problems {
    pub(super) fn new(file: &Path, world: World) -> Self {
        Self { found: RefCell::default(), file: file.into(), world }
    }

    /// A path as the file means it: relative to the directory that the file is in.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        places::relative_to(&self.file, Path::new(path))
    }

    /// From now on nothing is a problem in these parts of the text: what is wrong with them is
    /// known.
    pub(super) fn pass_over(&self, parts: Vec<Range<usize>>) {
        self.found.borrow_mut().passed_over = parts;
    }

    /// An error.
    pub(super) fn push(&self, problem: Problem) {
        let mut found = self.found.borrow_mut();
        if found.is_new(&problem) {
            found.count += 1;
            if found.kept.len() < KEPT {
                found.kept.push(problem);
            }
        }
    }

    /// Something that is valid, and most likely not what was meant.
    pub(super) fn warn(&self, problem: Problem) {
        let mut found = self.found.borrow_mut();
        if found.is_new(&problem) && found.warnings.len() < KEPT {
            found.warnings.push(problem);
        }
    }

    /// The same of what is true of this machine, wherever it matters: it is shown at the first
    /// place.
    pub(super) fn warn_once(&self, problem: Problem) {
        let is_known = |warning: &Problem| warning.message == problem.message;
        let is_new = !self.found.borrow().warnings.iter().any(is_known);
        if is_new {
            self.warn(problem);
        }
    }

    /// Whether further errors are only counted: their suggestions need not be worked out.
    pub(super) fn is_full(&self) -> bool {
        self.found.borrow().kept.len() >= KEPT
    }

    /// Whether this machine is looked at too.
    pub(super) fn sees_world(&self) -> bool {
        self.world == World::Seen
    }

    pub(super) fn take(&self) -> Found {
        std::mem::take(&mut self.found.borrow_mut())
    }
}

impl Found {
    /// One error and nothing else.
    pub(super) fn only(problem: Problem) -> Self {
        Self { kept: vec![problem], count: 1, ..Self::default() }
    }

    /// The same of what stands below a key of the file.
    pub(super) fn below(mut self, key: &str) -> Self {
        for problem in self.kept.iter_mut().chain(&mut self.warnings) {
            let between = if problem.path.is_empty() { "" } else { "." };
            problem.path = format!("{key}{between}{}", problem.path);
        }
        self
    }

    fn is_new(&mut self, problem: &Problem) -> bool {
        if self.passed_over.iter().any(|part| part.contains(&problem.span.start)) {
            return false;
        }
        let place = [problem.span.start, problem.span.end].map(usize::to_ne_bytes);
        let bytes = place.as_flattened().iter().copied().chain(problem.message.bytes());
        self.seen.insert(stable_hash(bytes))
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) path: String,
    pub(super) span: Range<usize>,
    /// Whether it comes from `defaults:`.
    pub(super) is_default: bool,
}

impl<T> At<T> {
    /// A problem with this value.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.path.clone(), self.span.clone(), message)
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        let Self { value, path, span, is_default } = self;
        At { value: change(value), path, span, is_default }
    }
}
