//! Process trees: a process and all that it started. They are found, signalled, killed, and proved
//! to be gone; how a process ended is not their business (`exits`).
//!
//! | file | concept |
//! |---|---|
//! | `process_tree` | a process and all that it started, by its cgroup or by marks in its environment |
//! | `kin`, `relative` | by what its processes are found; a number that means one process for ever |
//! | `marks` | what tells one process tree from another, and ours from all others |
//! | `standing`, `heirs` | who may speak in its name; who inherits orphans |
//! | `cgroup` | one cgroup for each process tree, where we may make any |
//! | `snapshot` | one look at the process table, for all process trees that need one |
//! | `census` | the thread that takes it, and signals whom it has found |
//! | `environs` | reading the environments of others, which may wait for them |
//! | `sweep` | what a predecessor left and no supervisor has taken over |

pub(in crate::isolation) mod census;
pub(crate) mod cgroup;
pub(in crate::isolation) mod environs;
mod heirs;
mod kin;
pub(in crate::isolation) mod marks;
pub mod process_tree;
pub(in crate::isolation) mod relative;
pub(in crate::isolation) mod snapshot;
pub(in crate::isolation) mod standing;
pub(in crate::isolation) mod sweep;
