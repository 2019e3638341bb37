//! Results as lines of JSON, which are only ever appended: those of several machines are united by
//! `drill merge`, and what a killed one has written counts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::shard::Shard;
use super::verdict::Report;
use crate::config::scenario::script::Scenario;
use crate::service_manager::OWN;
use crate::stable_hash::stable_hash;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// A shard begins.
    Campaign(Header),
    /// A trial is over.
    Trial {
        /// The id of its campaign.
        campaign: String,
        /// Its number in that, from 1.
        trial: usize,
        report: Box<Report>,
    },
}

/// What a campaign is, and which shard of it begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u32,
    /// The same for the same scenarios, configurations, program, counts and seed.
    pub(crate) campaign: String,
    pub(crate) shard: u32,
    pub(crate) of: u32,
    /// How many trials all shards have together.
    pub(crate) trials: usize,
    pub(crate) scenarios: Vec<Named>,
}

/// A scenario of a campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) scenario: String,
    pub(crate) file: PathBuf,
    /// How often it runs.
    pub(crate) runs: u32,
    /// Whether it says what one of its runs must reach: that is judged of all shards together.
    pub(crate) sometimes: bool,
}

/// The id of a campaign.
///
/// # Errors
/// Those of reading this program.
pub(crate) fn id(
    scenarios: &[Scenario],
    repeat: Option<u32>,
    seed: Option<u64>,
) -> io::Result<String> {
    let mut what = format!("{} {repeat:?} {seed:?} {}\n", env!("CARGO_PKG_VERSION"), program()?);
    for one in scenarios {
        what.push_str(&one.text);
        one.configurations.iter().for_each(|configuration| {
            what.push_str(configuration.source.text());
        });
    }
    Ok(format!("{:016x}", stable_hash(what.bytes())))
}

/// What tells this program from another build.
fn program() -> io::Result<String> {
    let mut file = File::open(OWN)?;
    let mut sum = Crc::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(format!("{:08x} {}", sum.sum(), sum.amount())),
            count => sum.update(&chunk[..count]),
        }
    }
}

impl Header {
    pub(crate) fn of(
        campaign: String,
        shard: Shard,
        scenarios: &[Scenario],
        repeat: Option<u32>,
    ) -> Self {
        let named = |one: &Scenario| Named {
            scenario: one.name.clone(),
            file: one.file.clone(),
            runs: repeat.unwrap_or(one.repeat),
            sometimes: !one.sometimes.is_empty(),
        };
        let scenarios: Vec<Named> = scenarios.iter().map(named).collect();
        let trials = scenarios.iter().map(|one| one.runs as usize).sum();
        let (shard, of) = (shard.number, shard.of);
        Self { version: 1, campaign, shard, of, trials, scenarios }
    }

    /// A trial, for people.
    pub(crate) fn title(&self, trial: usize) -> String {
        let mut left = trial.saturating_sub(1);
        for one in &self.scenarios {
            let runs = one.runs as usize;
            match left.checked_sub(runs) {
                Some(rest) => left = rest,
                None if runs == 1 => return one.scenario.clone(),
                None => return format!("{}, run {} of {runs}", one.scenario, left + 1),
            }
        }
        "of no scenario".to_owned()
    }
}

/// A file that lines are appended to.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    campaign: String,
}

impl Lines {
    /// Begins a shard.
    ///
    /// # Errors
    /// Those of a file.
    pub(crate) fn begin(path: &Path, header: &Header) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).append(true).open(path)?;
        // The last line of one that was killed may have no end.
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        let mut lines = Self { file, campaign: header.campaign.clone() };
        lines.append(&Line::Campaign(header.clone()))?;
        Ok(lines)
    }

    /// A trial is over.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn trial(&mut self, trial: usize, report: &Report) -> io::Result<()> {
        let (campaign, report) = (self.campaign.clone(), Box::new(report.clone()));
        self.append(&Line::Trial { campaign, trial, report })
    }

    /// In one write, so that a line is whole or the last.
    fn append(&mut self, line: &Line) -> io::Result<()> {
        let text = serde_json::to_string(line).expect("texts and numbers") + "\n";
        self.file.write_all(text.as_bytes())
    }
}
