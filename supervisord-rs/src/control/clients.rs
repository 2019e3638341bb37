//! Places for clients: who is served at once, who waits, who gives way.
//!
//! A connection has a place while it asks and is answered. One that waits for the outcome of an
//! order, or reads events, is quiet for as long as it takes, and has a place of another kind, so
//! that quiet clients never keep others from asking. Of each kind some places are kept for the
//! owner. Where all are taken, the connection that has been quiet for longest gives way.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::socket::Standing;

/// Connections that ask at once; so many wait for an outcome besides, and so many read events.
pub(super) const PLACES: usize = 64;
/// Of each kind, what is kept for root and the supervisor's own user.
const FOR_THE_OWNER: usize = 16;
/// Strangers that get a refusal; the server closes others silently.
const STRANGERS: usize = 4;
/// Members that wait for a place; the next one is closed.
const MEMBERS_WAITING: usize = 64;
/// A connection that has been quiet for less may just be about to ask.
const QUIET: Duration = Duration::from_millis(100);
/// For a connection that is to give way to be read once more: what it has sent may have arrived
/// while this process did not run.
const LAST_LOOK: Duration = Duration::from_millis(1);
/// Between two looks for a place.
const PAUSE: Duration = Duration::from_millis(20);

/// Held by a connection.
#[derive(Debug)]
#[expect(dead_code, reason = "they are held, and given back when they are dropped")]
pub(super) struct Place {
    of_all: OwnedSemaphorePermit,
    of_members: Option<OwnedSemaphorePermit>,
}

/// Places of one kind.
#[derive(Clone, Debug)]
struct Kind {
    all: Arc<Semaphore>,
    of_members: Arc<Semaphore>,
}

impl Kind {
    fn new() -> Self {
        let of_members = Arc::new(Semaphore::new(PLACES - FOR_THE_OWNER));
        Self { all: Arc::new(Semaphore::new(PLACES)), of_members }
    }

    fn take(&self, is_owner: bool) -> Option<Place> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let of_members = if is_owner { None } else { Some(take(&self.of_members)?) };
        Some(Place { of_all: take(&self.all)?, of_members })
    }

    async fn all_are_free(&self) {
        let all = u32::try_from(PLACES).expect("a small number");
        let _ = self.all.acquire_many(all).await;
    }
}

/// All places of a server.
#[derive(Debug)]
pub(super) struct Places {
    asking: Kind,
    waiting: Kind,
    reading: Kind,
    strangers: Arc<Semaphore>,
    members_waiting: Arc<Semaphore>,
    clients: Mutex<Vec<Weak<Client>>>,
    begun: Instant,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            asking: Kind::new(),
            waiting: Kind::new(),
            reading: Kind::new(),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            members_waiting: Arc::new(Semaphore::new(MEMBERS_WAITING)),
            clients: Mutex::default(),
            begun: Instant::now(),
        }
    }

    /// A place for a stranger to be told that it is one.
    pub(super) fn for_a_stranger(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.strangers).try_acquire_owned().ok()
    }

    /// A place in the queue of members that wait for a place.
    pub(super) fn in_the_queue(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.members_waiting).try_acquire_owned().ok()
    }

    /// A client with a place, when there is one.
    pub(super) async fn seat(self: &Arc<Self>, standing: Standing) -> Arc<Client> {
        let is_owner = standing == Standing::Owner;
        loop {
            if let Some(place) = self.asking.take(is_owner) {
                return self.client(is_owner, place);
            }
            self.have_one_give_way(is_owner);
            let freed = if is_owner { &self.asking.all } else { &self.asking.of_members };
            let _ = timeout(PAUSE, freed.acquire()).await;
        }
    }

    /// Returns when every connection has its answer.
    pub(super) async fn all_are_free(&self) {
        self.asking.all_are_free().await;
        self.waiting.all_are_free().await;
        self.reading.all_are_free().await;
    }

    fn client(self: &Arc<Self>, is_owner: bool, place: Place) -> Arc<Client> {
        let client = Arc::new(Client {
            places: Arc::clone(self),
            is_owner,
            place: Mutex::new(Some(place)),
            owed: AtomicU32::new(0),
            is_reading: AtomicBool::new(false),
            is_patient: AtomicBool::new(false),
            last_sign_ms: AtomicU64::new(self.now_ms()),
            gives_way: Notify::new(),
        });
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(&client));
        client
    }

    /// The connection that has been quiet for longest, and whose place would do, is closed.
    fn have_one_give_way(&self, is_owner: bool) {
        let now = self.now_ms();
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let in_the_way = clients
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|client| client.is_in_the_way(now) && (is_owner || !client.is_owner));
        // Members before the owner.
        if let Some(client) =
            in_the_way.max_by_key(|client| (!client.is_owner, client.quiet_ms(now)))
        {
            client.gives_way.notify_one();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One connection that may ask.
#[derive(Debug)]
pub(super) struct Client {
    places: Arc<Places>,
    is_owner: bool,
    place: Mutex<Option<Place>>,
    /// Answers that are being made.
    owed: AtomicU32,
    /// Whether it reads events.
    is_reading: AtomicBool,
    /// Whether it has left the places of those that ask.
    is_patient: AtomicBool,
    last_sign_ms: AtomicU64,
    gives_way: Notify,
}

impl Client {
    /// Returns when another one needs its place more, and nothing has come from it. What has come
    /// meanwhile must be read before the result is looked at.
    pub(super) async fn has_to_give_way(&self) {
        loop {
            self.gives_way.notified().await;
            // Timers are due only after a look at all descriptors.
            sleep(LAST_LOOK).await;
            if self.is_in_the_way(self.places.now_ms()) {
                return;
            }
        }
    }

    /// It has sent or taken something.
    pub(super) fn gives_a_sign(&self) {
        self.last_sign_ms.store(self.places.now_ms(), Ordering::Relaxed);
    }

    /// An answer is being made, as long as the result lives: the client is quiet for a reason.
    pub(super) fn is_owed(self: Arc<Self>) -> Owed {
        self.owed.fetch_add(1, Ordering::Relaxed);
        Owed(self)
    }

    /// Whether it is root or the supervisor's own user.
    pub(super) fn is_owner(&self) -> bool {
        self.is_owner
    }

    /// Whether it reads events.
    pub(super) fn is_reading(&self) -> bool {
        self.is_reading.load(Ordering::Relaxed)
    }

    /// Goes to wait for an outcome. False: too many do, and it keeps the place that it has.
    pub(super) fn begins_to_wait(&self) -> bool {
        self.is_patient.load(Ordering::Relaxed) || self.moves_to(&self.places.waiting)
    }

    /// Goes to read events. False: too many do.
    pub(super) fn begins_to_read(&self) -> bool {
        let moves = self.moves_to(&self.places.reading);
        self.is_reading.store(moves, Ordering::Relaxed);
        moves
    }

    fn moves_to(&self, kind: &Kind) -> bool {
        let Some(place) = kind.take(self.is_owner) else { return false };
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        self.is_patient.store(true, Ordering::Relaxed);
        true
    }

    /// Whether it has a place among those that ask, and has not asked for a while.
    fn is_in_the_way(&self, now: u64) -> bool {
        let is_quiet = self.quiet_ms(now) >= u64::try_from(QUIET.as_millis()).expect("short");
        is_quiet
            && !self.is_patient.load(Ordering::Relaxed)
            && self.owed.load(Ordering::Relaxed) == 0
    }

    fn quiet_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.last_sign_ms.load(Ordering::Relaxed))
    }
}

/// A client waits for an answer.
#[derive(Debug)]
pub(super) struct Owed(Arc<Client>);

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.gives_a_sign();
        self.0.owed.fetch_sub(1, Ordering::Relaxed);
    }
}
