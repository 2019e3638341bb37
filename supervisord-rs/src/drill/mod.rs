//! Breaking things on purpose, and reporting what was lost.
//!
//! | file | concept |
//! |---|---|
//! | `compare`, `plan`, `subject`, `setting` | the same workers under each isolation |
//! | `trial`, `outcome`, `expectation`, `report`, `width` | one of its trials, and what it shows |
//! | `bed`, `disk`, `interrupt`, `orphan`, `addresses` | a supervisor of its own, and the end of it |
//! | `strike`, `up`, `limits`, `failure`, `progress` | what trials and scenarios share |
//! | `matrix`, `matrix/` | every fault in every isolation, again and again, against the catalogue |
//! | `find`, `campaign`, `runner`, `bound` | many runs of scenarios |
//! | `processes` | the process of each run and of each trial of a matrix |
//! | `run`, `run/` | one run: its steps, what it waits for and expects |
//! | `mark`, `look`, `judge`, `left_behind` | what was so, what is so, and whether it is to be so |
//! | `storm`, `storm/`, `shrinking`, `twice` | storms: their schedule, what they break, and how they are shrunk |
//! | `verdict`, `junit` | what came of it |
//! | `shard`, `lines`, `merge` | a campaign on several machines |
//! | `library` | drills in the tests of other programs |
//! | `first`, `recorded` | a scenario for a configuration that has none, and from an incident |

mod addresses;
mod bed;
pub(crate) mod bound;
pub(crate) mod campaign;
pub mod compare;
mod disk;
pub mod expectation;
pub mod failure;
pub(crate) mod find;
pub(crate) mod first;
mod interrupt;
mod judge;
pub(crate) mod junit;
mod left_behind;
mod library;
mod limits;
pub(crate) mod lines;
mod look;
mod mark;
pub(crate) mod matrix;
pub(crate) mod merge;
pub(crate) mod orphan;
pub mod outcome;
pub mod plan;
mod processes;
pub mod progress;
pub(crate) mod recorded;
pub(crate) mod report;
mod run;
pub(crate) mod runner;
pub mod setting;
pub(crate) mod shard;
mod shrinking;
mod storm;
mod strike;
pub mod subject;
pub mod trial;
mod twice;
mod up;
pub mod verdict;
mod width;

pub use library::{Drill, DrillError};
