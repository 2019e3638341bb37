//! A supervisor with the workers of the ten crates.

use std::process::ExitCode;

use workers::{Context, Registry, WorkerError};

/// A worker that has done its units ends, each time in another way: it returns, fails, panics.
fn end(context: &Context) -> Result<(), WorkerError> {
    match context.generation() % 3 {
        _ if context.stop_requested() => Ok(()),
        0 => Err("its third end".into()),
        1 => Ok(()),
        _ => panic!("its second end"),
    }
}

macro_rules! fleet {
    ($registry:expr; $($name:literal = $krate:ident),* $(,)?) => {
        $registry$(.function($name, "", |context: &Context, args: $krate::Args| {
            $krate::run(context, args)?;
            end(context)
        }))*
    };
}

fn main() -> ExitCode {
    let registry = fleet!(Registry::default();
        "c-library" = c_library,
        "channel-pipeline" = channel_pipeline,
        "child-spawner" = child_spawner,
        "event-loop" = event_loop,
        "forker" = forker,
        "panic-hook" = panic_hook,
        "rayon-pool" = rayon_pool,
        "thread-locals" = thread_locals,
        "tracing-user" = tracing_user,
    );
    supervisord_rs::main(registry.async_function(
        "tokio-server",
        "",
        async |context: &workers::AsyncContext, args: tokio_server::Args| {
            tokio_server::run(context, args).await?;
            end(context.context())
        },
    ))
}
