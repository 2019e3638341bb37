//! Hashes the files of a directory, again and again: a fault interrupts work that is really in
//! flight.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::{Context, InFlight};
use crate::error::WorkerError;
use crate::worker::Worker;

/// `args:` of a file-hasher.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Args {
    /// The directory of the files, without sub-directories. Default `/etc`.
    directory: PathBuf,
    /// Pause after each round. Default `100ms`.
    #[serde(deserialize_with = "super::duration::deserialize")]
    every: Duration,
    /// Bytes read at once, between two signs of life; 1 to 1 048 576. Default 4096.
    chunk: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self { directory: "/etc".into(), every: Duration::from_millis(100), chunk: 4096 }
    }
}

/// For [`Registry::schema`](crate::Registry::schema).
pub(super) fn schema() -> Value {
    json!({ "properties": {
        "directory": {
            "description": "the directory of the files, without sub-directories",
            "default": "/etc",
        },
        "every": { "description": "pause after each round", "default": "100ms" },
        "chunk": {
            "description": "bytes read at once, between two signs of life; 1 to 1 048 576",
            "default": 4096,
        },
    } })
}

/// See [`Args`]. A file is a unit of work.
#[derive(Debug)]
pub(super) struct FileHasher {
    args: Args,
}

impl FileHasher {
    pub(super) fn new(args: Args) -> Result<Self, WorkerError> {
        if !(1..=1 << 20).contains(&args.chunk) {
            return Err(format!("chunk: {} is not from 1 to 1048576", args.chunk).into());
        }
        Ok(Self { args })
    }

    /// Hashes every file once; false when it is time to stop. Skips a file that cannot be read.
    fn round(&self, context: &Context) -> Result<bool, WorkerError> {
        let directory = &self.args.directory;
        let entries = fs::read_dir(directory)
            .map_err(|error| format!("cannot read directory {}: {error}", directory.display()))?;
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|path| path.is_file());
        files.sort();
        // The whole round is in flight: a death loses the files that are not done.
        let mut units: Vec<_> = files.iter().map(|_| context.begin(1)).collect();
        for path in &files {
            if context.stop_requested() {
                // The next round hashes them.
                units.into_iter().for_each(InFlight::give_back);
                return Ok(false);
            }
            if let Some(hash) = self.hash(path, context)? {
                context.breadcrumb(u32::try_from(hash & 0xffff).unwrap_or(0));
            }
            if let Some(unit) = units.pop() {
                unit.done();
            }
        }
        Ok(true)
    }

    fn hash(&self, path: &Path, context: &Context) -> Result<Option<u64>, WorkerError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        #[expect(clippy::disallowed_types, reason = "it is compared within one run")]
        let mut hasher = std::hash::DefaultHasher::new();
        let mut buffer = vec![0; self.args.chunk];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Some(hasher.finish())),
                length => hasher.write(&buffer[..length]),
            }
            context.tick();
        }
    }
}

impl Worker for FileHasher {
    fn run(&mut self, context: &Context) -> Result<(), WorkerError> {
        while self.round(context)? && context.sleep(self.args.every) {}
        Ok(())
    }
}
