//! Why a worker gave up.

use std::error::Error;
use std::fmt;

/// Why a worker gave up: any error or text, by `?` or `into`. It reads as its text and those of its
/// [sources](Error::source), separated by colons; so do the log and the incident.
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
    /// never_on: }`.
    #[must_use]
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), is_permanent: true }
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
        Self { error: error.into(), is_permanent: false }
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.error.to_string();
        formatter.write_str(&last)?;
        let mut next = self.error.source();
        while let Some(source) = next {
            let text = source.to_string();
            // Many errors write their source out themselves.
            if !last.ends_with(&text) {
                write!(formatter, ": {text}")?;
            }
            (last, next) = (text, source.source());
        }
        Ok(())
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
    fn texts_and_boxed_errors_become_one() {
        let boxed: Box<dyn Error + Send + Sync> = "boxed".into();
        let all: [WorkerError; 4] =
            ["text".into(), String::from("owned").into(), boxed.into(), fmt::Error.into()];
        let texts = all.map(|error| error.to_string());
        assert_eq!(texts[..3], ["text", "owned", "boxed"]);
    }
}
