//! Requests that show something: the status and incidents. What takes long is read in the
//! background.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::call::call;
use super::query::{Pairs, Parameters};
use super::refusal::Refused;
use super::{CLIENT, READ_TIMEOUT, Requests};
use crate::control::protocol::{Failure, IncidentRecord, StatusReport, UNKNOWN_INCIDENT};
use crate::control::request::{Request, Show};
use crate::pool::Pool;
use crate::record::settled::read_others;

/// For the figures of a report.
const USAGE_LIMIT: Duration = Duration::from_secs(2);
/// Incidents given when no number is.
const LAST_DEFAULT: usize = 20;
/// Those who read for answers: no request needs a thread that may not be to be had.
pub(super) static READERS: Pool = Pool::new("reader", 4);

pub(super) async fn status(
    State(requests): State<Requests>,
    pairs: Pairs,
) -> Result<Json<StatusReport>, Refused> {
    let usage = Parameters::among(&["usage"], pairs)?.flag("usage")?;
    let _owed = CLIENT.get().is_owed();
    let report = call(&requests, |answer| Request::Show(Show::Status(answer))).await?;
    if !usage && report.workers.iter().all(|worker| worker.limits.is_none()) {
        return Ok(Json(report));
    }
    // Beside the loop: /proc takes its time, and where it takes too much there is an answer without
    // figures.
    let mut full = report.clone();
    let filled = read(USAGE_LIMIT, move || {
        let fill = if usage { crate::usage::fill } else { crate::usage::fill_limits };
        fill(&mut full);
        full
    });
    Ok(Json(filled.await.unwrap_or(report)))
}

pub(super) async fn incidents(
    State(requests): State<Requests>,
    pairs: Pairs,
) -> Result<Json<Vec<IncidentRecord>>, Refused> {
    let given = Parameters::among(&["last", "open"], pairs)?;
    let (last, open) = (given.number("last")?, given.flag("open")?);
    Ok(Json(newest(&requests, last.unwrap_or(LAST_DEFAULT), open).await?))
}

pub(super) async fn incident(
    State(requests): State<Requests>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<IncidentRecord>>, Refused> {
    let Path(id) = path?;
    let id: u64 = id.parse().map_err(|_| {
        let message = format!("{id} is no number of an incident: /v1/incidents lists them");
        Refused::invalid(StatusCode::BAD_REQUEST, message)
    })?;
    let mut found = newest(&requests, usize::MAX, true).await?;
    found.retain(|record| record.id == id);
    if found.is_empty() {
        return Err(Failure::new(UNKNOWN_INCIDENT, format!("no incident {id}")).into());
    }
    Ok(Json(found))
}

/// The newest incidents, oldest first: from memory, and the older ones from the file, beside the
/// loop. `open`: with all that are not settled yet.
async fn newest(
    requests: &Requests,
    last: usize,
    open: bool,
) -> Result<Vec<IncidentRecord>, Failure> {
    let _owed = CLIENT.get().is_owed();
    let found = call(requests, |answer| Request::Show(Show::Incidents(last, answer))).await?;
    let (mut records, path) = (found.settled, found.path);
    let missing = last - records.len().min(last);
    if open {
        records.extend(found.open);
    }
    if missing == 0 {
        records.sort_by_key(|record| record.id);
        return Ok(records);
    }
    let known = records.iter().map(|record| record.id).collect();
    let older = read(READ_TIMEOUT, move || read_others(&path, &known, missing)).await;
    let failed =
        |why: String| Failure::new("failed", format!("cannot read older incidents: {why}"));
    let older = older.ok_or_else(|| failed("the disk does not answer".to_owned()))?;
    let mut all = older.map_err(|error| failed(error.to_string()))?;
    all.append(&mut records);
    all.sort_by_key(|record| record.id);
    Ok(all)
}

/// Reads what may take its time, on a thread that is there already. `None`: it took too long.
async fn read<T: Send + 'static>(
    limit: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    read_on(&READERS, limit, job).await
}

/// The same, on a thread of this pool.
pub(super) async fn read_on<T: Send + 'static>(
    pool: &'static Pool,
    limit: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let is_there = pool.run(move || drop(answer.send(job())));
    if !is_there {
        return None;
    }
    timeout(limit, answered).await.ok()?.ok()
}
