//! A worker that counts, and goes on where it was when it has crashed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use workers::{Context, WorkerError, builtin};

/// In a drill each run has a directory of its own; elsewhere the file is in the working directory.
fn file_of(name: &str) -> PathBuf {
    let directory = std::env::var_os("SUPERVISORD_RS_TRIAL").unwrap_or_else(|| ".".into());
    PathBuf::from(directory).join(format!("{name}.count"))
}

#[derive(serde::Deserialize)]
struct Args {
    /// Where it begins.
    #[serde(default)]
    first: u64,
}

fn count(context: &Context, args: Args) -> Result<(), WorkerError> {
    let file = file_of(context.name());
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let mut count: u64 = known.trim().parse().unwrap_or(args.first);
    while context.sleep(Duration::from_millis(10)) {
        context.log_line(format!("counted {}", count + 1));
        // The next number only once this one is written down.
        count += 1;
        let next = file.with_extension("next");
        std::fs::write(&next, count.to_string())?;
        std::fs::rename(next, &file)?;
        context.progress(1);
    }
    Ok(())
}

fn main() -> ExitCode {
    supervisord_rs::main(builtin::registry().function("counter", "counts; args: first", count))
}
