//! Whether the supervisor is to end, and with which status.

/// The end, as far as it is decided.
#[derive(Debug, Default)]
pub(super) struct End {
    status: Option<u8>,
    /// Whether the guardian's death is why everything is stopped, and no order to end has come
    /// since.
    is_by_guardian: bool,
}

impl End {
    /// Everything is down: the loop ends, with this exit status.
    pub(super) fn set(&mut self, status: u8) {
        self.status = Some(status);
    }

    /// The exit status; `None`: the loop goes on.
    pub(super) fn status(&self) -> Option<u8> {
        self.status
    }

    /// Everything is stopped since the guardian is gone.
    pub(super) fn begin_by_guardian(&mut self) {
        self.is_by_guardian = true;
    }

    /// An order to end has come. Whether it changes something: the first after the guardian's death
    /// does not, since that was no order; the next one kills.
    pub(super) fn is_news(&mut self) -> bool {
        !std::mem::take(&mut self.is_by_guardian)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_order_after_the_guardians_death_changes_nothing_and_the_next_does() {
        let mut end = End::default();
        assert!(end.is_news(), "an order by itself");
        end.begin_by_guardian();
        assert!(!end.is_news());
        assert!(end.is_news());
        assert_eq!(end.status(), None);
        end.set(1);
        assert_eq!(end.status(), Some(1));
    }
}
