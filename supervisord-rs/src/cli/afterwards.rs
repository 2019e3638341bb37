//! What verbs show of a supervisor that has ended: its files tell. Only a configuration says where
//! they are.

use std::io;
use std::path::Path;

use workers::Registry;

use super::exit::{Exit, report};
use super::output::say;
use super::place::Place;
use crate::config::Settings;
use crate::control::client::ClientError;
use crate::control::protocol::IncidentRecord;
use crate::record::settled::{READ_MAX, read_last};

/// Where to look when no supervisor answers.
#[derive(Clone, Copy)]
pub(super) struct Afterwards<'a> {
    pub(super) place: &'a Place,
    pub(super) registry: &'a Registry,
}

impl Afterwards<'_> {
    /// The configuration whose files tell, where no supervisor answers.
    ///
    /// # Errors
    /// The exit status, when a supervisor answers with another error, or no configuration says
    /// where its files are; the reason has been printed.
    pub(super) fn settings(&self, error: &ClientError) -> Result<Settings, Exit> {
        let settings = match error {
            ClientError::NoSupervisor { .. } => self.place.settings(self.registry)?,
            _ => None,
        };
        settings.ok_or_else(|| report(error))
    }

    /// The incidents on file, oldest first: the newest so many, or the one of this number.
    ///
    /// # Errors
    /// The exit status; the reason has been printed.
    pub(super) fn incidents(
        &self,
        error: &ClientError,
        last: usize,
        id: Option<u64>,
    ) -> Result<Vec<IncidentRecord>, Exit> {
        let path = self.settings(error)?.supervisor.incidents();
        let most = if id.is_some() { usize::MAX } else { last };
        let has_none =
            || say(&format!("no supervisor runs, and {} has no incidents", path.display()));
        if matches!(path.try_exists(), Ok(false)) {
            // The first incident makes the file; the first run makes its directory.
            if !path.parent().is_some_and(Path::is_dir) {
                return Err(report(error));
            }
            has_none();
            return Ok(Vec::new());
        }
        let (mut records, left_out) =
            read_last(&path, most).map_err(|error| cannot_read(&path, &error))?;
        records.retain(|record| id.is_none_or(|id| record.id == id));
        records.sort_by_key(|record| record.id);
        if records.is_empty() && id.is_none() && most > 0 {
            has_none();
        } else {
            let shown = path.display();
            say(&format!("no supervisor runs; these are the incidents in {shown}"));
        }
        if left_out.long_lines > 0 {
            let count = left_out.long_lines;
            say(&format!("lines that are too long for an incident are left out: {count}"));
        }
        if left_out.older {
            let most = READ_MAX >> 20;
            say(&format!("older ones are left out: the last {most} MiB of the files are read"));
        }
        Ok(records)
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Exit {
    say(&format!("no supervisor runs, and {} cannot be read: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::RefusedOrUnknown,
        _ => Exit::NoSupervisor,
    }
}
