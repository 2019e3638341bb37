//! The captured output of workers, line by line. Files are read on threads of their own, where a
//! disk that does not answer holds up neither the loop nor another request; what is read and not
//! sent yet has its bounds, for each client and for all.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{sleep, timeout};

use super::call::call;
use super::query::Pairs;
use super::refusal::Refused;
use super::shown::read_on;
use super::{CLIENT, CLOSED, CROWD, Requests, end};
use crate::control::clients::Owed;
use crate::control::protocol::{Failure, LogItem, LogsRequest};
use crate::control::request::{Request, Show};
use crate::pool::Pool;
use crate::record::reading::{Access, Reading, TOTAL_MAX, Watch, Writers};

/// Those who read logs: one that hangs in a disk delays no other kind of request.
static READERS: Pool = Pool::new("log-reader", 32);
/// For the disks to answer: to decompress old logs takes seconds.
const DISK: Duration = Duration::from_secs(30);
/// Bytes that were read and are not sent yet, in KiB: of all clients.
static ROOM: Semaphore = Semaphore::const_new(ROOM_KIB);
const ROOM_KIB: usize = 256 << 10;
/// The same, of new output of one client. A piece of a file, and the rest of the one before it.
const NEWS_KIB: u32 = 8 << 10;
/// For other clients to take what was read for them.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// How much is sent at once.
const PART: usize = 64 << 10;
/// New output is read together with what comes so soon after it.
const SOON: Duration = Duration::from_millis(10);

/// An answer that is being sent.
struct Sending {
    reading: Reading,
    /// What follows the lines that were read.
    left_out: Vec<String>,
    /// `None`: no new lines are wanted.
    watch: Option<AsyncFd<Watch>>,
    closed: watch::Receiver<bool>,
    /// As long as lines are owed that were there when the client asked.
    owed: Option<Owed>,
    room: Option<SemaphorePermit<'static>>,
}

pub(super) async fn logs(
    State(requests): State<Requests>,
    Extension(access): Extension<Access>,
    pairs: Pairs,
) -> Result<Response, Refused> {
    let Query(pairs) = pairs?;
    let asked = LogsRequest::from_pairs(pairs)
        .map_err(|why| Refused::invalid(StatusCode::BAD_REQUEST, why))?;
    let owed = CLIENT.get().is_owed();
    let status = call(&requests, |answer| Request::Show(Show::Status(answer))).await?;
    if asked.follow && !CLIENT.with(|client| client.begins_to_read()) {
        let message = format!("no more clients can follow: {CROWD}");
        return Err(Failure::new("busy", message).into());
    }
    // One that waits for a disk here takes no room from others.
    let begun =
        read_on(&READERS, DISK, move || Reading::begin(&asked, &Writers::from(status), &access));
    let (mut reading, notes) = begun.await.ok_or_else(no_answer)??;
    let most = u32::try_from(TOTAL_MAX >> 10).expect("some MiB");
    let room = room(most).await.ok_or_else(|| {
        let message = "other clients do not take the lines that were read for them; try again";
        Failure::new("busy", message.to_owned())
    })?;
    let read = read_on(&READERS, DISK, move || {
        let left_out = reading.first(TOTAL_MAX);
        (reading, left_out)
    });
    let (mut reading, left_out) = read.await.ok_or_else(no_answer)?;
    let watch = reading.watch().map(Watch::registered).transpose();
    let watch = watch.map_err(|error| Failure::new("failed", format!("cannot follow: {error}")))?;
    let mut sending = Sending {
        reading,
        left_out,
        watch,
        closed: CLOSED.get(),
        owed: Some(owed),
        room: Some(room),
    };
    sending.needs_no_more();
    let first = notes.into_iter().map(|note| LogItem::Note { note });
    let first = futures_util::stream::iter([Ok::<_, Infallible>(written(first))]);
    let parts = futures_util::stream::unfold(Some(sending), |sending| async {
        let (part, rest) = sending?.part().await?;
        Some((Ok::<_, Infallible>(part), rest))
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, parts));
    Ok(([("content-type", "application/jsonl")], body).into_response())
}

impl Sending {
    /// The next part, and what is left to send. `None`: that was all.
    async fn part(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            let items = self.reading.take(PART);
            if !items.is_empty() {
                self.needs_no_more();
                return Some((written(items), Some(self)));
            }
            (self.room, self.owed) = (None, None);
            if !self.left_out.is_empty() {
                let notes = std::mem::take(&mut self.left_out).into_iter();
                return Some((written(notes.map(|note| LogItem::Note { note })), Some(self)));
            }
            if self.watch.is_none() && !self.reading.begins_with_news() {
                return None;
            }
            let is_new;
            (self, is_new) = match self.news().await {
                Ok(read) => read,
                Err(failure) => {
                    return Some((written([LogItem::Note { note: failure.message }]), None));
                }
            };
            if !is_new {
                // Without it that was all.
                self.watch.as_ref()?;
                self.changes().await?;
            }
        }
    }

    /// Gives back what room it does not need.
    fn needs_no_more(&mut self) {
        let held = self.reading.held().div_ceil(1024);
        if let Some(room) = &mut self.room {
            drop(room.split(room.num_permits().saturating_sub(held)));
        }
    }

    /// Reads new output; whether there was any.
    async fn news(mut self) -> Result<(Self, bool), Failure> {
        let busy = || Failure::new("busy", "other clients have all room for new lines".to_owned());
        self.room = Some(room(NEWS_KIB).await.ok_or_else(busy)?);
        let mut reading = self.reading;
        let read = read_on(&READERS, DISK, move || {
            let is_new = reading.news();
            (reading, is_new)
        });
        let is_new;
        (self.reading, is_new) = read.await.ok_or_else(no_answer)?;
        self.needs_no_more();
        Ok((self, is_new))
    }

    /// Waits until something has changed in the directories. `None`: the server ends.
    async fn changes(&mut self) -> Option<()> {
        self.room = None;
        let watch = self.watch.as_ref()?;
        tokio::select! {
            biased;
            ready = watch.readable() => {
                let mut ready = ready.ok()?;
                sleep(SOON).await;
                watch.get_ref().clear().ok()?;
                ready.clear_ready();
                Some(())
            }
            () = end(&mut self.closed) => None,
        }
    }
}

/// Room for so many KiB, when there is some.
async fn room(kib: u32) -> Option<SemaphorePermit<'static>> {
    timeout(ROOM_TIMEOUT, ROOM.acquire_many(kib)).await.ok()?.ok()
}

fn no_answer() -> Failure {
    Failure::new(
        "failed",
        "a disk with logs does not answer, or there can be no thread to read it".to_owned(),
    )
}

/// A line for each.
fn written(items: impl IntoIterator<Item = LogItem>) -> Bytes {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, &item).expect("an item is valid JSON");
        lines.push(b'\n');
    }
    lines.into()
}
