//! What registered code says of its arguments. It is asked in a process of its own (`maker`): it
//! may exit, panic, or never answer, and then that is what is wrong. What its types want is asked
//! on a thread; a test, whose program is another one, asks all there.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{set_hook, take_hook};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use workers::Registry;
use workers::runtime::shape::Shape;

use super::caught::{caught, note};
use super::made::{LIMIT, Made};
use super::maker::{self, Maker};
use crate::threads;
use crate::waiting::received;

/// The registered code, for one reading of a file.
pub(super) struct Code<'a> {
    registry: &'a Registry,
    /// Whether its workers are made to see whether they can be.
    is_asked: bool,
    maker: RefCell<Option<Maker>>,
    /// Whether it did not come up: a machine that cannot start a program is not asked again.
    has_no_maker: Cell<bool>,
    thread: RefCell<Option<Thread>>,
    /// Kinds of which a thread has not answered.
    given_up: RefCell<BTreeSet<String>>,
    /// What has ended a process that was asked, or has held it up, with what came of it.
    fatal: RefCell<BTreeMap<(String, String), Made>>,
    /// What is left of [`TOTAL`].
    patience: Cell<Duration>,
}

/// Workers whose making does not return, or ends its process, may take so long in one file. Those
/// after them are not made: what is wrong is known to be more than the file can tell.
const TOTAL: Duration = Duration::from_secs(10);

impl<'a> Code<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self {
            registry,
            is_asked: true,
            maker: RefCell::default(),
            has_no_maker: Cell::default(),
            thread: RefCell::default(),
            given_up: RefCell::default(),
            fatal: RefCell::default(),
            patience: Cell::new(TOTAL),
        }
    }

    /// The same without asking it anything: for the loop, which waits for nothing. What is wrong is
    /// a launch that fails.
    pub(super) fn believed(registry: &'a Registry) -> Self {
        Self { is_asked: false, ..Self::new(registry) }
    }

    /// The names of all workers.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.registry.names().map(|(name, _)| name).collect()
    }

    /// What the type of a worker's arguments wants.
    pub(super) fn shape(&self, kind: &str) -> Option<Shape> {
        let (registry, kind) = (self.registry.clone(), kind.to_owned());
        self.ask(&kind.clone(), move || registry.shape(&kind)).ok().flatten()
    }

    /// Makes a worker, and drops it.
    pub(super) fn make(&self, kind: &str, args: Json) -> Made {
        if !self.is_asked || !self.registry.has(kind) {
            return Made::Unknown;
        }
        if maker::is_available() {
            return self.make_elsewhere(kind, args);
        }
        let (registry, name) = (self.registry.clone(), kind.to_owned());
        self.ask(kind, move || Made::of(&registry, &name, &args)).unwrap_or_else(|made| made)
    }

    /// The same in a process of its own, a new one where the last one was lost. What has come of the
    /// same question before needs none.
    fn make_elsewhere(&self, kind: &str, args: Json) -> Made {
        let question = (kind.to_owned(), args.to_string());
        if let Some(made) = self.fatal.borrow().get(&question) {
            return made.again();
        }
        if self.patience.get().is_zero() {
            return Made::NotAsked;
        }
        let mut maker = self.maker.borrow_mut();
        if self.has_no_maker.get() {
            return Made::Unknown;
        }
        let begin = Instant::now();
        let Some(mut asked) = maker.take().or_else(Maker::start) else {
            // What is wrong is a launch that fails.
            self.has_no_maker.set(true);
            return Made::Unknown;
        };
        let made = asked.ask(kind, args);
        if !matches!(made, Made::Late | Made::Died(_)) {
            *maker = Some(asked);
            return made;
        }
        drop(asked);
        self.patience.set(self.patience.get().saturating_sub(begin.elapsed()));
        self.fatal.borrow_mut().insert(question, made.again());
        made
    }

    /// What `question` finds, asked on a thread of its own.
    fn ask<T: Send + 'static>(
        &self,
        kind: &str,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Made> {
        if !self.is_asked || self.given_up.borrow().contains(kind) {
            return Err(Made::Unknown);
        }
        let mut thread = self.thread.borrow_mut();
        let Some(asked) = thread.take().or_else(Thread::start) else { return Err(Made::Unknown) };
        let answer = asked.ask(kind, question);
        if !matches!(answer, Err(Made::Late)) {
            *thread = Some(asked);
        }
        if matches!(answer, Err(Made::Late | Made::Panicked(_))) {
            self.given_up.borrow_mut().insert(kind.to_owned());
        }
        answer
    }
}

type Question = Box<dyn FnOnce() + Send>;

/// Asks one question after the other. One that does not come back from a question is left behind.
struct Thread {
    questions: Sender<Question>,
}

impl Thread {
    /// `None`: there can be no thread.
    fn start() -> Option<Self> {
        keep_panics_quiet();
        watch_for_exit();
        let (questions, receiver): (_, Receiver<Question>) = channel();
        let builder = std::thread::Builder::new().name("check".into());
        let work = move || {
            IS_ASKED.set(true);
            receiver.into_iter().for_each(|question| question());
        };
        threads::spawn(builder, work).ok()?;
        Some(Self { questions })
    }

    fn ask<T: Send + 'static>(
        &self,
        kind: &str,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Made> {
        let (sender, answer) = channel();
        let kind = kind.to_owned();
        let question = move || {
            *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = kind;
            let _ = sender.send(caught(question));
        };
        let _ = self.questions.send(Box::new(question));
        match received(&answer, LIMIT) {
            Ok(found) => found.map_err(Made::Panicked),
            Err(_) => Err(Made::Late),
        }
    }
}

/// The kind that is asked last. Not a thread local: exit(3) has run their destructors when it calls
/// `on_exit`.
static ASKED: Mutex<String> = Mutex::new(String::new());

thread_local! {
    /// Whether this thread asks registered code.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// A panic of code that is asked is an answer, and prints nothing.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if IS_ASKED.try_with(Cell::get).unwrap_or(false) { note(info) } else { previous(info) }
        }));
    });
}

/// Code that calls exit(3) while it is asked would end a verb, or the supervisor, with what it
/// claims: without a word, and as if all were well.
fn watch_for_exit() {
    extern "C" fn on_exit() {
        if IS_ASKED.try_with(Cell::get).unwrap_or(false) {
            let kind = ASKED.try_lock().map(|kind| kind.clone()).unwrap_or_default();
            eprintln!(
                "supervisord-rs: making a worker `{kind}` called exit(), which ends this program: \
                 effects belong in `run`"
            );
            // At once: exit(3) runs already.
            signal_hook::low_level::exit(1);
        }
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| workers::runtime::crash::at_exit(on_exit));
}
