//! To give back what dead users of a queue had.

use std::sync::atomic::Ordering;

use super::{Queue, Recovered};
use crate::shared::{Error, Holder, Lives};

impl Queue {
    /// What one does that has waited in vain: looks for the dead, and for what was written over.
    pub(super) fn look_after(&self) {
        if self.words().swept.is_due() {
            // If another one does it, or `/proc` cannot be read, the next one that waits tries.
            let _ = self.release_dead();
            self.ring().realign();
        }
    }

    /// Gives back what a holder had that the caller knows to be dead. None: another one is doing
    /// that for all dead; try again. Never waits; reads files.
    ///
    /// # Errors
    /// [`Error::System`] where `/proc` is not mounted.
    pub fn release_of(&self, holder: Holder) -> Result<Option<Recovered>, Error> {
        let holder = holder.seen_from(self.attachment.segment.namespaces());
        self.release_if(|other| other == holder)
    }

    /// Gives back what all dead users had. None: as of [`Self::release_of`]. Never waits; reads a
    /// file for each user.
    ///
    /// # Errors
    /// As of [`Self::release_of`].
    pub fn release_dead(&self) -> Result<Option<Recovered>, Error> {
        let lives = Lives::default();
        self.release_if(|holder| self.attachment.is_dead_by(&lives, holder))
    }

    pub(in crate::shared) fn release_if(
        &self,
        is_dead: impl Fn(Holder) -> bool,
    ) -> Result<Option<Recovered>, Error> {
        let Some(sweep) = self.seats().try_sweep()? else { return Ok(None) };
        Ok(Some(sweep.free(is_dead, |is_gone| self.clean_up(is_gone))))
    }

    pub(super) fn clean_up(&self, is_gone: &dyn Fn(usize) -> bool) -> Recovered {
        let recovered = self.ring().recover(is_gone);
        let words = self.words();
        words.torn.fetch_add(recovered.torn as u64, Ordering::Relaxed);
        words.overwritten.fetch_add(recovered.overwritten as u64, Ordering::Relaxed);
        if recovered.torn + recovered.overwritten > 0 {
            words.room.0.notify_all();
            // Takers may wait behind a half message.
            words.ready.0.notify_all();
        }
        if recovered.returned > 0 {
            words.ready.0.notify_all();
        }
        recovered
    }

    /// Half messages of dead senders, since the queue was made.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.words().torn.load(Ordering::Relaxed)
    }

    /// Slots that had been written over, since the queue was made.
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        self.words().overwritten.load(Ordering::Relaxed)
    }
}
