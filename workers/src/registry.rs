//! The workers that a binary knows, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Context;
use crate::error::WorkerError;
use crate::runtime::arguments::{self, Place, Refused};
use crate::runtime::shape::{self, Shape};
use crate::worker::Worker;

type Make = dyn Fn(&Value) -> Result<Made, Refused> + Send + Sync;

/// A worker, and the places of the arguments that its type ignores.
type Made = (Box<dyn Worker>, Vec<Place>);

/// Names, each with the function that makes its worker. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    makers: BTreeMap<&'static str, Entry>,
}

#[derive(Clone)]
struct Entry {
    summary: &'static str,
    make: Arc<Make>,
    shape: fn() -> Shape,
    required: fn() -> Vec<String>,
    schema: Option<Arc<Value>>,
}

impl Registry {
    /// Adds a worker, or replaces one of the same name. `make` gets the `args:` of the
    /// configuration, typed: `()` takes none. A key that the type ignores is a warning of `check`;
    /// with `#[serde(deny_unknown_fields)]` it is an error.
    ///
    /// `make` must have no effects and return at once, since `check` calls it too, and gives it two
    /// seconds: effects belong in [`Worker::run`]. An error that begins with a key and a colon
    /// (`limits.size: more than 100`) is shown at that key.
    ///
    /// ```
    /// use workers::{Context, Registry, Worker, WorkerError};
    ///
    /// struct Counter(u32);
    ///
    /// impl Worker for Counter {
    ///     fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
    ///         context.progress(self.0.into());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// fn counter(to: u32) -> Result<Counter, WorkerError> {
    ///     if to > 10 { Err("it counts to 10".into()) } else { Ok(Counter(to)) }
    /// }
    ///
    /// let registry = Registry::default().with("counter", "counts; args: a number", counter);
    /// assert_eq!(registry.names().collect::<Vec<_>>(), [("counter", "counts; args: a number")]);
    /// let error = registry.create("counter", &11.into()).err().expect("it is too far");
    /// assert_eq!(error.to_string(), "args of counter: it counts to 10");
    /// ```
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
        let make = move |args: &Value| -> Result<Made, Refused> {
            let (args, ignored) = arguments::read(args)?;
            let worker = make(args)
                .map_err(|error| Refused::Maker(error.to_string(), error.is_permanent()))?;
            Ok((Box::new(worker), ignored))
        };
        let entry = Entry {
            summary,
            make: Arc::new(make),
            shape: shape::of::<A>,
            required: arguments::required::<A>,
            schema: None,
        };
        self.makers.insert(name, entry);
        self
    }

    /// Adds a function or a closure as a worker, or replaces one of the same name. It gets the
    /// `args:` of the configuration, typed, and runs as [`Worker::run`] does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use workers::{Context, Registry, WorkerError};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Args {
    ///     whom: String,
    /// }
    ///
    /// fn greet(context: &Context, args: Args) -> Result<(), WorkerError> {
    ///     while context.sleep(Duration::from_secs(1)) {
    ///         context.log_line(format!("hello, {}", args.whom));
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let registry = Registry::default().function("greeter", "greets; args: whom", greet);
    /// assert!(registry.has("greeter"));
    /// ```
    #[must_use]
    pub fn function<A>(
        self,
        name: &'static str,
        summary: &'static str,
        run: impl Fn(&Context, A) -> Result<(), WorkerError> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned + Send + 'static,
    {
        let run = Arc::new(run);
        self.with(name, summary, move |args: A| {
            Ok(Function { run: Arc::clone(&run), args: Some(args) })
        })
    }

    /// Adds a worker whose work is a future, as [`with`](Self::with) does.
    ///
    /// ```
    /// use workers::{AsyncContext, AsyncWorker, Registry, WorkerError};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Idle {}
    ///
    /// impl AsyncWorker for Idle {
    ///     async fn run(&mut self, context: &AsyncContext) -> Result<(), WorkerError> {
    ///         context.stopped().await;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let registry = Registry::default().with_async("idle", "waits", Ok::<Idle, WorkerError>);
    /// assert!(registry.has("idle"));
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn with_async<A, W>(
        self,
        name: &'static str,
        summary: &'static str,
        make: impl Fn(A) -> Result<W, WorkerError> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned,
        W: crate::AsyncWorker + 'static,
    {
        self.with(name, summary, move |args: A| Ok(make(args)?.into_worker()))
    }

    /// Adds an async function or closure as a worker, as [`function`](Self::function) does.
    ///
    /// ```
    /// use workers::{AsyncContext, Registry, WorkerError};
    ///
    /// async fn serve(context: &AsyncContext, port: u16) -> Result<(), WorkerError> {
    ///     let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    ///     tokio::select! {
    ///         accepted = listener.accept() => drop(accepted?),
    ///         () = context.stopped() => {}
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let registry = Registry::default().async_function("server", "serves; args: a port", serve);
    /// ```
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn async_function<A>(
        self,
        name: &'static str,
        summary: &'static str,
        run: impl AsyncFn(&crate::AsyncContext, A) -> Result<(), WorkerError> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned + Send + 'static,
    {
        let run = Arc::new(run);
        self.with_async(name, summary, move |args: A| {
            Ok(Function { run: Arc::clone(&run), args: Some(args) })
        })
    }

    /// Describes the arguments of a worker by a JSON Schema: `supervisord-rs workers` shows what
    /// its properties are for (`description`, `default`). Keys and types it takes from the type
    /// itself, and `check` never looks at the schema. The crate `schemars` makes one of a type and
    /// its comments: `schema_for!(Args).into()`.
    ///
    /// # Panics
    /// There is no worker of this name.
    ///
    /// ```
    /// use workers::{Context, Registry};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Args {
    ///     whom: String,
    /// }
    ///
    /// let registry = Registry::default()
    ///     .function("greeter", "greets", |context: &Context, args: Args| {
    ///         context.log_line(args.whom);
    ///         Ok(())
    ///     })
    ///     .schema("greeter", serde_json::json!({ "properties": {
    ///         "whom": { "description": "who is greeted" },
    ///     } }));
    /// ```
    #[must_use]
    pub fn schema(mut self, name: &str, schema: Value) -> Self {
        let entry = self.makers.get_mut(name).unwrap_or_else(|| panic!("no worker `{name}`"));
        entry.schema = Some(Arc::new(schema));
        self
    }

    /// Every name with its one-line summary, sorted.
    ///
    /// ```
    /// let registry = workers::builtin::registry();
    /// let names: Vec<&str> = registry.names().map(|(name, _)| name).collect();
    /// assert!(names.contains(&"ticker"));
    /// ```
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
    /// and what it expects. Permanent where the function that makes it says so.
    ///
    /// ```
    /// let registry = workers::builtin::registry();
    /// assert!(registry.create("ticker", &serde_json::json!({ "interval": "5ms" })).is_ok());
    /// let error = registry.create("tikcer", &serde_json::Value::Null).err().expect("none");
    /// assert!(error.to_string().contains("there are: "), "{error}");
    /// ```
    pub fn create(&self, name: &str, args: &Value) -> Result<Box<dyn Worker>, WorkerError> {
        let Some(made) = self.try_create(name, args) else {
            let known = self.makers.keys().copied().collect::<Vec<_>>().join(", ");
            return Err(format!("no worker is registered as `{name}`; there are: {known}").into());
        };
        match made {
            Ok((worker, _)) => Ok(worker),
            Err(refused) => {
                let is_permanent = matches!(&refused, Refused::Maker(_, true));
                let text = format!("args of {name}: {refused}");
                Err(if is_permanent { WorkerError::permanent(text) } else { text.into() })
            }
        }
    }

    /// Makes a worker; with it come the arguments that it ignores. `None`: there is no worker of
    /// this name.
    #[doc(hidden)]
    #[must_use]
    pub fn try_create(&self, name: &str, args: &Value) -> Option<Result<Made, Refused>> {
        Some((self.makers.get(name)?.make)(args))
    }

    /// What the type of a worker's arguments wants. `None`: there is no worker of this name.
    #[doc(hidden)]
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Shape> {
        Some((self.makers.get(name)?.shape)())
    }

    /// The arguments of a worker that cannot be left out, as far as its type tells.
    #[doc(hidden)]
    #[must_use]
    pub fn required(&self, name: &str) -> Vec<String> {
        self.makers.get(name).map_or_else(Vec::new, |entry| (entry.required)())
    }

    /// What describes the arguments of a worker.
    #[doc(hidden)]
    #[must_use]
    pub fn schema_of(&self, name: &str) -> Option<&Value> {
        self.makers.get(name)?.schema.as_deref()
    }
}

/// A function with the arguments of its one call.
struct Function<A, F> {
    run: Arc<F>,
    args: Option<A>,
}

impl<A, F> Worker for Function<A, F>
where
    A: Send,
    F: Fn(&Context, A) -> Result<(), WorkerError> + Send + Sync,
{
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        let args = self.args.take().ok_or("a function that is a worker runs once")?;
        (self.run)(context, args)
    }
}

#[cfg(feature = "tokio")]
impl<A, F> crate::AsyncWorker for Function<A, F>
where
    A: Send,
    F: AsyncFn(&crate::AsyncContext, A) -> Result<(), WorkerError> + Send + Sync,
{
    async fn run(&mut self, context: &crate::AsyncContext) -> Result<(), WorkerError> {
        let args = self.args.take().ok_or("a function that is a worker runs once")?;
        (self.run)(context, args).await
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.makers.keys()).finish()
    }
}
