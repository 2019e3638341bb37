//! The workers that a binary knows, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::WorkerError;
use crate::worker::Worker;

type Make = dyn Fn(&Value) -> Result<Box<dyn Worker>, WorkerError> + Send + Sync;

/// Names, each with the function that makes its worker. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    makers: BTreeMap<&'static str, Entry>,
}

#[derive(Clone)]
struct Entry {
    summary: &'static str,
    make: Arc<Make>,
}

impl Registry {
    /// Adds a worker, or replaces one of the same name. `make` gets the `args:` of the
    /// configuration, typed; it must have no effects, since `check` calls it too: effects belong in
    /// [`Worker::run`].
    #[must_use]
    pub fn with<A, W>(
        mut self,
        name: &'static str,
        summary: &'static str,
        make: impl Fn(A) -> Result<W, WorkerError> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned,
        W: Worker + 'static,
    {
        let make = move |args: &Value| -> Result<Box<dyn Worker>, WorkerError> {
            let args =
                if args.is_null() { Value::Object(serde_json::Map::new()) } else { args.clone() };
            Ok(Box::new(make(serde_json::from_value(args)?)?))
        };
        self.makers.insert(name, Entry { summary, make: Arc::new(make) });
        self
    }

    /// Every name with its one-line summary, sorted.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.makers.iter().map(|(name, entry)| (*name, entry.summary))
    }

    /// Whether there is such a worker.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.makers.contains_key(name)
    }

    /// Makes a worker.
    ///
    /// # Errors
    /// There is no worker of this name, or it does not take these arguments; the text says which
    /// and what it expects.
    pub fn create(&self, name: &str, args: &Value) -> Result<Box<dyn Worker>, WorkerError> {
        let entry = self.makers.get(name).ok_or_else(|| {
            let known = self.makers.keys().copied().collect::<Vec<_>>().join(", ");
            WorkerError::from(format!("no worker is registered as `{name}`; there are: {known}"))
        })?;
        (entry.make)(args).map_err(|error| WorkerError::from(format!("args of {name}: {error}")))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.makers.keys()).finish()
    }
}
