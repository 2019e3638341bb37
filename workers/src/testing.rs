//! Tests of workers without a supervisor: [`Harness`] runs one on a thread of the test's process,
//! and [`in_child`] in a process that may really crash.
//!
//! ```
//! use std::time::Duration;
//! use workers::testing::{Ending, Harness};
//! use workers::{Context, Worker, WorkerError};
//!
//! struct Greeter;
//!
//! impl Worker for Greeter {
//!     fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
//!         while context.sleep(Duration::from_millis(1)) {
//!             context.log_line("hello");
//!             context.progress(1);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let greeter = Harness::of(Greeter).start();
//! greeter.wait_for("three greetings", |state| state.progress >= 3);
//! assert!(greeter.output().starts_with("hello\nhello\n"));
//! assert_eq!(greeter.stop(), Ending::Returned);
//! ```

mod child;
mod drain;
mod harness;
mod running;
mod state;

pub use child::{Crash, in_child};
pub use harness::Harness;
pub use running::Running;
pub use state::{Ending, LastWords, State};
