//! Your own worker, in your own binary.
use std::{process::ExitCode, time::Duration};

use workers::{Context, Worker, WorkerError, builtin};

#[derive(serde::Deserialize)]
struct Greeter {
    whom: String,
}

impl Worker for Greeter {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        while context.sleep(Duration::from_millis(100)) {
            context.log_line(format!("hello, {}", self.whom));
            context.progress(1);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    supervisord_rs::main(builtin::registry().with(
        "greeter",
        "greets; args: whom",
        Ok::<Greeter, WorkerError>,
    ))
}
