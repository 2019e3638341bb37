//! What the configuration names and this machine does not have, as warnings in the log.
//!
//! A process looks, not a thread: the files may lie on a disk that does not answer, and a thread
//! that waits for one would keep a killed supervisor from dying, and its guardian from starting
//! another.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Deserialize;

use super::Daemon;
use crate::config::Located;
use crate::isolation::helper::Summons;
use crate::waiting::Limit;

/// After that the disk hangs, and nothing is logged of it: launches from there report it.
const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of the report that are read.
const REPORT_MAX: u64 = 1 << 20;

/// What is read of the report of `check --world --json`.
#[derive(Deserialize)]
struct Report {
    warnings: Vec<Located>,
}

impl Daemon {
    /// Has `check --world` look, and logs its warnings when it has ended. Does not block.
    pub(super) fn warn_of_world(&self) {
        let report = match memory() {
            Ok(report) => report,
            Err(error) => return not_looked(&error.to_string()),
        };
        let file = self.settings.source.file.clone().into_os_string();
        let words = ["supervisord-rs", "check", "--world", "--json", "--"];
        let argv: Vec<OsString> = words.into_iter().map(Into::into).chain([file]).collect();
        let output = match report.try_clone() {
            Ok(output) => output,
            Err(error) => return not_looked(&error.to_string()),
        };
        match self.drivers.launch_check(Path::new(super::OWN), &argv, Some(output.into())) {
            Ok(summons) => {
                tokio::spawn(async move {
                    if let Err(why) = log_warnings(summons, report).await {
                        not_looked(&why);
                    }
                });
            }
            Err(why) => not_looked(&why),
        }
    }
}

async fn log_warnings(summons: Summons, mut report: File) -> Result<(), String> {
    let limit = &mut Limit::new(LIMIT);
    let helper = summons.arrive(limit).await.map_err(|failed| failed.message)?;
    if helper.wait(limit).await.is_none() {
        return Err(format!("`check --world` has not ended after {LIMIT:?}"));
    }
    let mut text = String::new();
    report.rewind().map_err(|error| error.to_string())?;
    report.take(REPORT_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let report: Report = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    for warning in report.warnings {
        tracing::warn!("{}", warning.line());
    }
    Ok(())
}

fn not_looked(why: &str) {
    tracing::warn!("the files and users of the configuration were not looked for: {why}");
}

fn memory() -> io::Result<File> {
    let name = CString::new("world")?;
    Ok(File::from(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?))
}
