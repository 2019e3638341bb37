//! What a predecessor left to this supervisor: with the guardian, in the store, and in its black
//! box.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::daemon::control_socket::CONTROL_OF_UNIT;
use crate::guardian::orderly_end::ORDERLY_END;
use crate::isolation::exits::exit_record::EXIT_RECORDS;
use crate::record::post_mortem::PostMortem;
use crate::service_manager::{self, BLACK_BOX, FdStore, InheritedDescriptors};

/// Each part is there if there was a predecessor, or our parent handed it over.
pub(super) struct Left {
    /// Where the guardian reports the deaths that it sees.
    pub(super) exit_records: Option<OwnedFd>,
    /// Where the guardian reads who ends in order.
    pub(super) orderly_end: Option<File>,
    /// The control socket of a socket unit.
    pub(super) of_unit: Option<OwnedFd>,
    /// The store of the guardian or the service manager.
    pub(super) keeper: FdStore,
    /// The black boxes that were kept, by their names in the store.
    pub(super) black_boxes: Vec<(String, OwnedFd)>,
    /// The predecessor's own account.
    pub(super) story: Option<PostMortem>,
    /// Its end, as the guardian saw it.
    pub(super) seen: Option<service_manager::Predecessor>,
}

impl Left {
    /// `waits`: whether the predecessor still lives, and waits until we are ready.
    pub(super) fn claim(
        inherited: &mut InheritedDescriptors,
        waits: bool,
        runtime_dir: &Path,
    ) -> Self {
        // Not of the store: they are handed over besides.
        let exit_records = inherited.claim(EXIT_RECORDS);
        let orderly_end = inherited.claim(ORDERLY_END).map(File::from);
        let of_unit = inherited.claim(CONTROL_OF_UNIT);
        let keeper = FdStore::from_env(inherited.copies(), waits);
        let black_boxes = black_boxes(inherited);
        let story = predecessor(runtime_dir, &black_boxes);
        let seen = service_manager::predecessor(runtime_dir)
            .filter(|seen| story.as_ref().is_some_and(|story| story.pid == seen.pid));
        Self { exit_records, orderly_end, of_unit, keeper, black_boxes, story, seen }
    }
}

/// Those that were kept, by their names in the store.
fn black_boxes(inherited: &mut InheritedDescriptors) -> Vec<(String, OwnedFd)> {
    let all = inherited.claim_all(BLACK_BOX).into_iter();
    all.map(|(rest, descriptor)| (format!("{BLACK_BOX}{rest}"), descriptor)).collect()
}

/// A bad black box is reported and ignored: the supervisor starts as if there had been none.
fn predecessor(runtime_dir: &Path, kept: &[(String, OwnedFd)]) -> Option<PostMortem> {
    match PostMortem::read_kept(runtime_dir, kept) {
        Ok(story) => story,
        Err(error) => {
            tracing::warn!(%error,
                "the predecessor's black box cannot be read: nothing is known of its end");
            None
        }
    }
}
