//! What only one of all that share a process can set, for all of them: the subscriber of `tracing`,
//! the logger of `log`. Programs set it where they begin, and panic or give up if it is set; a
//! worker finds that it is. That is no damage to anything, and it comes again with every attempt.

/// How the libraries call it: in the texts of panics, and in those of errors.
const ERRORS: [&str; 4] = [
    "SetGlobalDefaultError(",
    "SetLoggerError(())",
    "a global default trace dispatcher has already been set",
    "attempted to set a logger after the logging system was already initialized",
];

/// What to say instead of a panic or an error with this text. `None`: it is another one.
pub(crate) fn explained(text: &str) -> Option<String> {
    ERRORS.iter().any(|error| text.contains(error)).then(|| {
        format!(
            "its process has a subscriber of `tracing` already, by which the events of each worker go \
             to its own output, with level and target: leave out the `init`, or use `try_init` and \
             go on ({text})"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_or_an_error_over_what_is_set_already_is_told_from_others() {
        for text in [
            "src/a.rs:1: Unable to install global subscriber: SetGlobalDefaultError(\"a global \
             default trace dispatcher has already been set\")",
            "failed to set: TryInitError { inner: SetLoggerError(()) }",
            "cannot log: attempted to set a logger after the logging system was already initialized",
        ] {
            assert!(explained(text).is_some_and(|said| said.contains(text)), "{text}");
        }
        for text in ["index out of bounds", "no handler for SetLoggerError"] {
            assert_eq!(explained(text), None);
        }
    }
}
