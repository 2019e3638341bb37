//! How processes ended: the only readers of wait statuses.
//!
//! | file | concept |
//! |---|---|
//! | `reaper` | the one owner of wait statuses of children that we know |
//! | `wait` | waitid(2) as the kernel has it |
//! | `orphans` | children that came to us because their parents are gone |
//! | `adopted` | how a process ended that another supervisor had started |
//! | `exit_record` | how the guardian writes that down, and the supervisor reads it |

pub(in crate::isolation) mod adopted;
pub mod exit_record;
pub mod orphans;
pub mod reaper;
pub(in crate::isolation) mod wait;
