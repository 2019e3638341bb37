//! Workers whose work is a future.

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use workers::fault::Fault;
use workers::testing::{Ending, Harness};
use workers::{AsyncContext, AsyncWorker, Outcome, Registry, WorkerError};

/// Three tasks wait for the order to stop, and say when they see it.
struct Waiter(Sender<Instant>);

impl AsyncWorker for Waiter {
    async fn run(&mut self, context: &AsyncContext) -> Result<(), WorkerError> {
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                // One that is dropped loses nothing for the others.
                let _cancelled = context.stopped();
                let (context, seen) = (context.clone(), self.0.clone());
                tokio::task::spawn_local(async move {
                    context.stopped().await;
                    seen.send(Instant::now()).expect("the test reads it");
                })
            })
            .collect();
        context.ready();
        for task in tasks {
            task.await?;
        }
        assert!(!context.sleep(Duration::MAX).await, "it has stopped");
        Ok(())
    }
}

#[test]
fn all_tasks_see_the_stop_within_a_millisecond_of_the_order_not_at_a_poll() {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..20 {
        let (seen, sees) = channel();
        let worker = Harness::of(Waiter(seen).into_worker()).start();
        worker.wait_ready();
        let ordered = Instant::now();
        assert_eq!(worker.stop(), Ending::Returned);
        let latest = sees.iter().max().expect("three have seen it");
        times.push(latest.duration_since(ordered));
    }
    times.sort();
    println!(
        "from the order to the last of three tasks: median {:?}, worst {:?}",
        times[10], times[19]
    );
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
}

/// Reloads by order, and says so; then cleans up, on its runtime.
struct Tidy {
    fails: bool,
}

impl AsyncWorker for Tidy {
    async fn run(&mut self, context: &AsyncContext) -> Result<(), WorkerError> {
        let mut reloads = 0;
        loop {
            tokio::select! {
                biased;
                () = context.stopped() => break,
                () = context.reload_ordered() => {
                    reloads += 1;
                    context.log_line(format!("reload {reloads}"));
                    context.reloaded();
                }
                () = async {
                    context.ready();
                    std::future::pending().await
                } => {}
            }
        }
        if self.fails { Err("cannot run".into()) } else { Ok(()) }
    }

    async fn terminate(
        &mut self,
        context: &AsyncContext,
        outcome: Outcome<'_>,
    ) -> Result<(), WorkerError> {
        let saved = tokio::task::spawn_local(async { "saved" }).await?;
        match outcome {
            Outcome::Failed(error) => context.log_line(format!("{saved} after: {error}")),
            _ => context.log_line(saved),
        }
        Err("cannot clean up".into())
    }
}

#[test]
fn an_order_to_reload_wakes_a_task_and_each_is_taken_once() {
    let worker = Harness::of(Tidy { fails: false }.into_worker()).start();
    worker.wait_ready();
    for number in 1..=3 {
        worker.order_reload();
        worker.wait_output(&format!("reload {number}\n"));
    }
    assert!(!worker.output().contains("reload 4"), "{}", worker.output());
    worker.order_stop();
    worker.wait_end();
}

#[test]
fn a_worker_cleans_up_on_its_runtime_and_its_first_error_is_the_ending() {
    for (fails, ending, output) in
        [(false, "cannot clean up", "saved\n"), (true, "cannot run", "saved after: cannot run\n")]
    {
        let worker = Harness::of(Tidy { fails }.into_worker()).start();
        worker.wait_ready();
        worker.order_stop();
        worker.wait_for(
            ending,
            |state| matches!(&state.ending, Some(Ending::Failed(text)) if text.contains(ending)),
        );
        assert!(worker.output().contains(output), "{}", worker.output());
    }
}

fn wait_for_ever(args: serde_json::Value) -> Harness {
    let registry =
        Registry::default().async_function("waits", "", async |context: &AsyncContext, (): ()| {
            context.ready();
            context.stopped().await;
            Ok(())
        });
    Harness::new(&registry, "waits", args)
}

#[test]
fn a_fault_is_committed_while_the_worker_waits() {
    let worker = wait_for_ever(serde_json::Value::Null).start();
    worker.wait_ready();
    worker.inject(Fault::Panic);
    assert!(matches!(worker.wait_end(), Ending::Panicked(text) if text.contains("injected panic")));
}

#[test]
fn a_task_that_panics_loses_its_units_and_the_worker_goes_on() {
    let registry =
        Registry::default().async_function("server", "", async |context: &AsyncContext, (): ()| {
            let unit = context.begin(5);
            let task = tokio::task::spawn_local(async move {
                let _unit = unit;
                panic!("of a request");
            });
            assert!(task.await.is_err_and(|error| error.is_panic()));
            let elsewhere = context.begin(2);
            tokio::task::spawn_blocking(move || elsewhere.done()).await?;
            context.stopped().await;
            let _lost = context.begin(4);
            Err("no".into())
        });
    let worker = Harness::new(&registry, "server", serde_json::Value::Null).start();
    let state = worker.wait_for("the loss", |state| state.progress == 2);
    assert_eq!((state.failed, state.in_flight), (5, 0));
    worker.order_stop();
    let state = worker.wait_for("end", |state| state.ending.is_some());
    assert_eq!((state.failed, state.in_flight), (5, 4), "{state:?}");
}

#[test]
fn what_the_runtime_started_ends_with_the_worker_or_is_named() {
    let registry = Registry::default().async_function(
        "pool",
        "",
        async |context: &AsyncContext, seconds: f64| {
            drop(tokio::task::spawn_blocking(move || {
                std::thread::sleep(Duration::from_secs_f64(seconds));
            }));
            context.progress(1);
            context.stopped().await;
            Ok(())
        },
    );
    let end = |seconds: f64| {
        let worker = Harness::new(&registry, "pool", seconds.into()).start();
        worker.wait_for("its task", |state| state.progress == 1);
        worker.order_stop();
        worker.wait_for("end", |state| state.ending == Some(Ending::Returned));
        worker.output()
    };
    assert_eq!(end(0.05), "");
    assert_eq!(end(8.0), "pool: 1 of its threads still do blocking work, and are left behind\n");
}

#[test]
fn what_a_task_drops_is_lost_with_the_worker_that_ends_by_it_whatever_other_tasks_do() {
    let registry = Registry::default().async_function(
        "joins",
        "",
        async |context: &AsyncContext, how: String| {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..2 {
                let (context, panics) = (context.clone(), how == "panic");
                tasks.spawn_local(async move {
                    let _unit = context.begin(3);
                    tokio::task::yield_now().await;
                    assert!(number > 0 || !panics, "of a task");
                    if number == 0 {
                        return Err(WorkerError::from("of a task"));
                    }
                    // In the same turn of the runtime as the end of the other one.
                    context.progress(1);
                    context.stopped().await;
                    Ok(())
                });
            }
            while let Some(ended) = tasks.join_next().await {
                match ended {
                    Ok(result) => result?,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
            Ok(())
        },
    );
    for how in ["error", "panic"] {
        let worker = Harness::new(&registry, "joins", how.into()).start();
        let state = worker.wait_for("end", |state| state.ending.is_some());
        assert_eq!((state.progress, state.failed, state.in_flight), (1, 0, 6), "{how}: {state:?}");
    }
}
