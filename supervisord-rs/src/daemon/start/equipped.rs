//! The third stage: what the loop works with is there. Clients reach the control socket, where
//! their requests wait; nothing is launched, and no process of the predecessor is touched.
//!
//! *Can fail:* the control socket of a first start (a successor goes on without it, and the upkeep
//! makes it); threads, pipes and descriptors that the kernel does not give.
//!
//! *A failure leaves* what the second stage leaves. The control socket's path may have a socket
//! that does not answer, which the next supervisor replaces; clients in its queue read an end of
//! file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::rc::Rc;

use workers::Registry;

use super::StartError;
use super::control::Control;
use super::recovered::Recovered;
use crate::config::Settings;
use crate::isolation::Drivers;
use crate::isolation::drivers::Persistence;
use crate::record::black_box::{BlackBox, Count};
use crate::record::echo::{Echo, has_audience};
use crate::record::logs::{Logs, Surviving};
use crate::record::post_mortem::PostMortem;
use crate::record::record_writer::RecordWriter;
use crate::service_manager;

/// All that the loop works with, before it has any worker.
pub(super) struct Equipped {
    pub(super) recovered: Recovered,
    pub(super) control: Control,
    pub(super) record_writer: RecordWriter,
    pub(super) drivers: Drivers,
}

impl Recovered {
    /// Opens the control socket, starts the record writer, makes the drivers.
    pub(super) fn equip(mut self, registry: Registry) -> Result<Equipped, StartError> {
        let (locked, left) = (&mut self.locked, &mut self.left);
        let control = Control::open(
            &locked.settings,
            locked.origin,
            left.of_unit.take(),
            &mut locked.inherited,
            &self.store,
            &mut locked.troubles,
        )?;
        let record_writer = RecordWriter::start(self.black_box.counter(Count::LostRecords))?;
        let persistence =
            Persistence { store: self.store.clone(), exit_records: left.exit_records.take() };
        let story = left.story.as_ref();
        let drivers = drivers(&locked.settings, registry, story, &self.black_box, persistence)?;
        Ok(Equipped { recovered: self, control, record_writer, drivers })
    }
}

/// What launches and carries output, with what a predecessor had in its hands.
fn drivers(
    settings: &Settings,
    registry: Registry,
    story: Option<&PostMortem>,
    black_box: &Rc<BlackBox>,
    persistence: Persistence,
) -> io::Result<Drivers> {
    let echo = has_audience(settings.supervisor.echo).then(Echo::start).transpose()?;
    let carried = story.map(|story| story.carried.clone()).unwrap_or_default();
    let store = persistence.store.clone();
    let surviving = Surviving { carriers: black_box.carriers(), carried, store };
    let logs = Logs::start(echo, settings.supervisor.log_cap, surviving)?;
    Drivers::new(settings, registry, environment(), logs, Rc::clone(black_box), persistence)
}

/// What processes inherit: our environment without what was meant for us alone.
fn environment() -> BTreeMap<OsString, OsString> {
    std::env::vars_os()
        .filter(|(name, _)| !service_manager::NOT_FOR_CHILDREN.iter().any(|own| name == own))
        .collect()
}
