//! Where the output of workers goes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use supervision::{LaunchFailure, WorkerId};

use super::Means;
use super::adopting::stream_name;
use crate::config::Launch;
use crate::config::settings::Sink;
use crate::isolation::launch::failed::{Failed, Result};
use crate::isolation::launch::failure;
use crate::isolation::launch::from_io;
use crate::isolation::outfit::Outfit;
use crate::record::black_box::Whose;
use crate::record::logs::StreamPlan;
use crate::stages;

const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// The descriptors that a worker's output goes to.
pub(in crate::isolation) struct Outputs {
    pub(in crate::isolation) stdout: OwnedFd,
    /// `None`: where standard output goes.
    pub(in crate::isolation) stderr: Option<OwnedFd>,
}

impl Means {
    /// Opens the captured streams of a worker, if they are not open.
    pub(in crate::isolation) fn open_streams(
        &mut self,
        worker: WorkerId,
        launch: &Launch,
    ) -> Result<()> {
        let logs = &launch.logs;
        if self.registry[worker].streams.is_none() {
            let mut streams = Vec::new();
            for (stream, sink) in launch.captured() {
                let plan = StreamPlan {
                    name: stream_name(&launch.name, stream),
                    worker: launch.name.clone(),
                    // Standard error that goes the same way cannot be told from it.
                    stream: if logs.stderr.is_none() { "output" } else { stream },
                    sink: sink.clone(),
                    rotate: logs.rotate,
                    cap: logs.cap,
                    line: logs.line,
                    counted: Whose::Worker(worker.index(), stream == "stderr"),
                };
                match self.logs.open(&plan) {
                    Ok(id) => {
                        let _ = self.logs.keep(id, &plan.name, &self.store);
                        streams.push(id);
                    }
                    Err(errno) => {
                        streams.into_iter().for_each(|stream| self.logs.close(stream));
                        return Err(from_pipes(errno).into());
                    }
                }
            }
            self.registry[worker].streams = Some(streams);
        }
        Ok(())
    }

    /// Where the output of a worker's next incarnation goes: into its captured streams, opened when
    /// first needed, or past us.
    pub(in crate::isolation) fn outputs(
        &mut self,
        worker: WorkerId,
        launch: &Launch,
    ) -> Result<Outputs> {
        self.open_streams(worker, launch)?;
        let logs = &launch.logs;
        for stream in self.registry[worker].streams() {
            self.logs.begin_run(*stream);
        }
        let mut captured = self.registry[worker].streams();
        let mut target = |stream: &str, sink: &Sink| -> Result<OwnedFd> {
            let opened = match sink {
                Sink::Null => File::options().write(true).open("/dev/null").map(OwnedFd::from),
                Sink::Inherit if stream == "stderr" => {
                    std::io::stderr().as_fd().try_clone_to_owned()
                }
                Sink::Inherit => std::io::stdout().as_fd().try_clone_to_owned(),
                Sink::File(_) | Sink::Terminal | Sink::Journald | Sink::Syslog => {
                    let stream = captured.next().copied();
                    return stream
                        .and_then(|stream| self.logs.writer(stream))
                        .ok_or_else(|| from_pipes(Errno::EMFILE).into());
                }
            };
            opened.map_err(|error| Failed::from(from_io(stages::PIPES, &error)))
        };
        let stdout = target("stdout", &logs.stdout)?;
        let stderr = logs.stderr.as_ref().map(|sink| target("stderr", sink)).transpose()?;
        Ok(Outputs { stdout, stderr })
    }
}

impl Outfit {
    /// Standard output and error.
    pub(in crate::isolation) fn take_outputs(
        &mut self,
        launch: &Launch,
        outputs: Outputs,
    ) -> Result<()> {
        let Outputs { stdout, stderr } = outputs;
        let stderr = stderr.map_or_else(|| stdout.try_clone(), Ok);
        let stderr = stderr.map_err(|error| from_io(stages::PIPES, &error))?;
        let is_captured = |wanted: &str| launch.captured().any(|(stream, _)| stream == wanted);
        let with_stdout = launch.logs.stderr.is_none();
        if is_captured("stdout") {
            self.pipes.push(STDOUT);
        }
        if is_captured(if with_stdout { "stdout" } else { "stderr" }) {
            self.pipes.push(STDERR);
        }
        self.descriptors.extend([(stdout, STDOUT), (stderr, STDERR)]);
        Ok(())
    }
}

pub(in crate::isolation) fn from_pipes(errno: Errno) -> LaunchFailure {
    failure(stages::PIPES, errno)
}
