//! Why a worker gave up.

use std::error::Error;
use std::fmt;

use crate::shared;

/// Why a worker gave up: any error or text, by `?` or `into`. It reads as its text and those of its
/// [sources](Error::source), separated by colons; so do the log and the incident.
///
/// One of a resource that the worker does not have ([`shared::Error::NotUsed`]) is
/// [permanent](Self::is_permanent): no restart brings it.
///
/// Of a chain of sources the first 32 are read: one that ends in itself has no end.
///
/// It is no [`Error`] itself, as no type is that every error becomes by `?`. A `Box<dyn Error>`
/// that another thread must not see has no way in: its text has, by `map_err`.
///
/// ```
/// use workers::WorkerError;
///
/// fn port(text: &str) -> Result<u16, WorkerError> {
///     let port = text.parse()?;
///     if port < 1024 {
///         return Err(WorkerError::permanent(format!("port {port} is not for everyone")));
///     }
///     Ok(port)
/// }
///
/// assert_eq!(port("x").unwrap_err().to_string(), "invalid digit found in string");
/// assert!(port("80").unwrap_err().is_permanent());
/// ```
pub struct WorkerError {
    error: Box<dyn Error + Send + Sync>,
    is_permanent: bool,
}

impl WorkerError {
    /// One that no restart mends: the supervisor quarantines the worker at once, as by `restart: {
    /// never_on: }`. Also where the function that makes the worker returns it at a launch.
    ///
    /// ```
    /// use workers::WorkerError;
    ///
    /// fn open(path: &str) -> Result<std::fs::File, WorkerError> {
    ///     // No restart mends a path that is wrong.
    ///     std::fs::File::open(path).map_err(WorkerError::permanent)
    /// }
    ///
    /// assert!(open("/nowhere/at-all").expect_err("there is none").is_permanent());
    /// ```
    #[must_use]
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), is_permanent: true }
    }

    /// The same error, as one that no restart mends.
    ///
    /// ```
    /// use workers::WorkerError;
    ///
    /// fn rules() -> Result<Vec<u8>, WorkerError> {
    ///     Ok(std::fs::read("/nowhere/at-all")?)
    /// }
    ///
    /// let error = rules().map_err(WorkerError::into_permanent).expect_err("there are none");
    /// assert!(error.is_permanent());
    /// ```
    #[must_use]
    pub fn into_permanent(self) -> Self {
        Self { is_permanent: true, ..self }
    }

    /// Whether no restart mends it.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.is_permanent
    }

    /// The error itself, for its sources and for a downcast.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for WorkerError {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { is_permanent: stays(&*error), error }
    }
}

/// Whether no restart helps, since it takes another configuration.
fn stays(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(shared::Error::NotUsed { .. }))
}

/// Sources of an error that are read. An error may have itself among its sources.
const SOURCES_MAX: usize = 32;

impl fmt::Display for WorkerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.error.to_string();
        formatter.write_str(&last)?;
        let mut next = self.error.source();
        for _ in 0..SOURCES_MAX {
            let Some(source) = next else { return Ok(()) };
            let text = source.to_string();
            // Many errors write their source out themselves.
            if !last.ends_with(&text) {
                write!(formatter, ": {text}")?;
            }
            (last, next) = (text, source.source());
        }
        formatter.write_str(if next.is_some() { ": ..." } else { "" })
    }
}

impl fmt::Debug for WorkerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_permanent { "permanent: " } else { "" };
        write!(formatter, "{kind}{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    #[test]
    fn an_error_reads_with_its_sources_and_none_of_them_twice() {
        let disk = Layer("the disk is full", None);
        let file = Layer("cannot write a.txt: the disk is full", Some(Box::new(disk)));
        let error = WorkerError::from(Layer("cannot save", Some(Box::new(file))));
        assert_eq!(error.to_string(), "cannot save: cannot write a.txt: the disk is full");
        assert!(!error.is_permanent());
        assert!(error.error().downcast_ref::<Layer>().is_some());
    }

    #[test]
    fn what_only_another_configuration_mends_is_permanent() {
        let missing = || shared::Error::NotUsed { name: "jobs".into(), used: "none".into() };
        assert!(WorkerError::from(missing()).is_permanent());
        assert!(!WorkerError::from(shared::Error::TimedOut).is_permanent());
    }

    #[derive(Debug)]
    struct Circle(&'static str, fn() -> &'static Circle);

    impl fmt::Display for Circle {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self.1())
        }
    }

    #[test]
    fn an_error_that_is_its_own_source_has_an_end() {
        static ONE: Circle = Circle("one", || &OTHER);
        static OTHER: Circle = Circle("other", || &ONE);
        let text = WorkerError::from(Circle("one", || &OTHER)).to_string();
        assert!(text.starts_with("one: other: one: other: "), "{text}");
        assert!(text.ends_with(": one: ...") || text.ends_with(": other: ..."), "{text}");
    }

    #[test]
    fn texts_and_boxed_errors_become_one() {
        let boxed: Box<dyn Error + Send + Sync> = "boxed".into();
        let all: [WorkerError; 4] =
            ["text".into(), String::from("owned").into(), boxed.into(), fmt::Error.into()];
        let texts = all.map(|error| error.to_string());
        assert_eq!(texts[..3], ["text", "owned", "boxed"]);
    }
}
