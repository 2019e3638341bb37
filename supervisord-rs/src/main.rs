//! The product's own binary: the supervisor with the built-in workers.

use std::process::ExitCode;

fn main() -> ExitCode {
    supervisord_rs::main(workers::builtin::registry())
}
