//! The kinds of isolation that a file can name: the one table of them. What reads a file, what
//! shows workers and what compares isolations takes them from here; the driver of a kind is the
//! one whose capabilities have its label (`isolation/mod.rs`).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use supervision::{Capabilities, FaultDomain};

/// A kind of isolation.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// What stands at `isolation:`. Two kinds may have one word: that which is shared has `cell:`
    /// beside it.
    pub word: &'static str,
    /// Whether a `command:` can be one.
    pub runs_commands: bool,
    /// Whether registered code can be one.
    pub runs_code: bool,
    /// What is true of its workers.
    pub capabilities: Capabilities,
}

/// All of them: those whose workers share most come first. Another one is a line here, and its
/// row below.
///
/// A fault domain is of one kind. So one kind lives in the supervisor's own domain, and one kind
/// in cells.
pub static ALL: [&Kind; 3] = [&THREAD, &CELL, &PROCESS];

/// A worker that does not say where it runs.
pub static DEFAULT: &Kind = &PROCESS;

/// A thread of the supervisor.
pub static THREAD: Kind = Kind {
    word: "thread",
    runs_commands: false,
    runs_code: true,
    capabilities: Capabilities {
        label: "thread",
        place: "a thread of the supervisor",
        fault_domain: FaultDomain::Supervisor,
        can_be_killed_alone: false,
        can_be_paused: false,
        has_own_memory: false,
        has_limits: false,
        has_own_process: false,
        outlives_supervisor: false,
    },
};

/// A thread of one child process, whose other threads are workers too.
pub static CELL: Kind = Kind {
    word: "thread",
    runs_commands: false,
    runs_code: true,
    capabilities: Capabilities {
        label: "cell",
        place: "a thread of a cell",
        fault_domain: FaultDomain::Shared,
        can_be_killed_alone: false,
        can_be_paused: false,
        has_own_memory: false,
        has_limits: true,
        has_own_process: false,
        outlives_supervisor: true,
    },
};

/// One child process, one worker.
pub static PROCESS: Kind = Kind {
    word: "process",
    runs_commands: true,
    runs_code: true,
    capabilities: Capabilities {
        label: "process",
        place: "a process",
        fault_domain: FaultDomain::Own,
        can_be_killed_alone: true,
        can_be_paused: true,
        has_own_memory: true,
        has_limits: true,
        has_own_process: true,
        outlives_supervisor: true,
    },
};

impl Kind {
    /// Its name on the command line, in tables, in records and in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.capabilities.label
    }

    /// Whether a worker can be one: registered code, or a command.
    #[must_use]
    pub const fn runs(&self, is_code: bool) -> bool {
        if is_code { self.runs_code } else { self.runs_commands }
    }

    /// The one with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// That of the supervisor's own fault domain.
    #[must_use]
    pub fn of_supervisor() -> &'static Self {
        let is_it = |kind: &&Self| kind.capabilities.is_of_supervisor();
        ALL.into_iter().find(is_it).expect("a test sees that there is one")
    }
}

/// Their names.
#[must_use]
pub fn names() -> [&'static str; ALL.len()] {
    ALL.map(Kind::name)
}

/// `a, b or c`: for one who is to write the name of a kind.
#[must_use]
pub fn choice() -> String {
    let names = names();
    let (last, others) = names.split_last().expect("there are some");
    format!("{} or {last}", others.join(", "))
}

/// What can stand at `isolation:`.
pub(super) fn words() -> Vec<&'static str> {
    let mut words: Vec<&str> = Vec::new();
    for kind in ALL {
        if !words.contains(&kind.word) {
            words.push(kind.word);
        }
    }
    words
}

/// What can stand at `isolation:` for registered code, or for a command.
pub(super) fn words_for(is_code: bool) -> Vec<&'static str> {
    let runs = |word: &&str| meant(word, false).is_some_and(|kind| kind.runs(is_code));
    words().into_iter().filter(runs).collect()
}

/// The kind that a word means, with or without `cell:` beside it; `None`: it has none like that.
pub(super) fn meant(word: &str, has_cell: bool) -> Option<&'static Kind> {
    let is_it = |kind: &&Kind| kind.word == word && kind.capabilities.is_shared() == has_cell;
    ALL.into_iter().find(is_it)
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for &'static Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Kind::by_name(&name).ok_or_else(|| D::Error::custom(format!("no isolation `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_can_be_told_from_the_others() {
        let names: BTreeSet<&str> = ALL.into_iter().map(Kind::name).collect();
        assert_eq!(names.len(), ALL.len(), "a name is one kind's");
        for kind in ALL {
            let is_shared = kind.capabilities.is_shared();
            assert_eq!(meant(kind.word, is_shared), Some(kind), "`{}` means it", kind.word);
            assert!(meant(kind.word, false).is_some(), "`{}` alone says where", kind.word);
        }
        assert_eq!(meant(DEFAULT.word, false), Some(DEFAULT));
        assert!(DEFAULT.runs_commands && DEFAULT.runs_code, "no file has chosen it");
        assert_eq!([words_for(false), words_for(true)], [vec!["process"], words()]);
    }

    #[test]
    fn a_fault_domain_that_workers_share_is_of_one_kind() {
        let count = |domain| {
            ALL.into_iter().filter(|kind| kind.capabilities.fault_domain == domain).count()
        };
        assert_eq!(count(FaultDomain::Supervisor), 1);
        assert_eq!(count(FaultDomain::Shared), 1);
    }

    #[test]
    fn a_kind_is_written_by_its_name() {
        for kind in ALL {
            let text = serde_json::to_string(kind).expect("a string");
            assert_eq!(text, format!("\"{}\"", kind.name()));
            let read: &'static Kind = serde_json::from_str(&text).expect("it is in the table");
            assert_eq!(read, kind);
        }
        assert!(serde_json::from_str::<&'static Kind>("\"moon\"").is_err());
    }
}
