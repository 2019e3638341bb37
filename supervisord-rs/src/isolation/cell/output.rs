//! Where the output of a cell goes that belongs to none of its workers.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use supervision::DomainId;

use crate::config::settings::{LineFormat, Rotate, Sink};
use crate::isolation::contract::Means;
use crate::isolation::contract::means::output::from_pipes;
use crate::isolation::launch::failed::Result;
use crate::record::black_box::Whose;
use crate::record::logs::StreamPlan;

/// The cell's own output, which belongs to none of its workers: `cell-NAME.log`.
pub(super) fn open(means: &mut Means, domain: DomainId, name: &str) -> Result<OwnedFd> {
    let stream = match means.registry[domain].output {
        Some(stream) => stream,
        None => {
            let directory = means.log_dir.clone();
            let first = means.registry[domain].workers.first().map_or(0, |first| first.index());
            let plan = StreamPlan {
                name: format!("cell-{name}/stdout"),
                worker: format!("cell {name}"),
                stream: "output",
                sink: Sink::File(directory.join(format!("cell-{name}.log"))),
                rotate: Rotate::default(),
                cap: None,
                line: LineFormat::default(),
                counted: Whose::Cell(first),
            };
            let stream = means.logs.open(&plan).map_err(from_pipes)?;
            means.registry[domain].output = Some(stream);
            stream
        }
    };
    means.logs.writer(stream).ok_or_else(|| from_pipes(Errno::EMFILE).into())
}

/// What a predecessor's cell had written and was not carried yet.
pub(super) fn adopt(means: &mut Means, domain: DomainId) {
    let name = means.registry[domain].name.clone();
    if means.logs.has_inherited(&format!("cell-{name}/stdout")) {
        let _ = open(means, domain, &name);
    }
}
