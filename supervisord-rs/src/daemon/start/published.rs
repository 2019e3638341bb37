//! The last stage: this supervisor's black box counts, and the loop can turn.
//!
//! *Can fail:* giving the black box its name in the runtime directory; that is the last step that
//! can fail at all.
//!
//! *A failure leaves* the predecessor's black box as the one that counts, and its processes in the
//! store. After it, this one's counts: whatever happens then, a successor recovers from it.

use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use supervision::Machine;
use tokio::sync::mpsc;

use super::StartError;
use super::adopted::Adopted;
use super::control::Control;
use super::equipped::Equipped;
use super::left::Left;
use super::locked::Locked;
use super::recovered::Recovered;
use crate::config::Settings;
use crate::control::request::Request;
use crate::daemon::around::Around;
use crate::daemon::control_socket::ControlSocket;
use crate::daemon::in_force::{self, Origin};
use crate::daemon::locks::Locks;
use crate::daemon::predecessor::Predecessor;
use crate::daemon::turn::Signs;
use crate::daemon::turn::lapse::Lapse;
use crate::daemon::upkeep::{Troubles, Upkeep};
use crate::hangup::Terminal;
use crate::isolation::Drivers;
use crate::record::black_box::BlackBox;
use crate::record::incidents::Names;
use crate::record::record_writer::RecordWriter;
use crate::record::settled::Settled;
use crate::record::wall_time::wall;
use crate::service_manager::{self, CONFIGURATION, ServiceManager};

/// Everything that the loop needs.
pub(in crate::daemon) struct Published {
    pub(in crate::daemon) settings: Settings,
    pub(in crate::daemon) machine: Machine,
    pub(in crate::daemon) drivers: Drivers,
    pub(in crate::daemon) names: Names,
    pub(in crate::daemon) settled: Settled,
    pub(in crate::daemon) requests: mpsc::Receiver<Request>,
    pub(in crate::daemon) around: Around,
    pub(in crate::daemon) upkeep: Upkeep,
    /// Counts from the moment that the machine's first deadlines count from.
    pub(in crate::daemon) lapse: Lapse,
    pub(in crate::daemon) signs: Signs,
    pub(in crate::daemon) predecessor: Predecessor,
    pub(in crate::daemon) black_box: Rc<BlackBox>,
    pub(in crate::daemon) record_writer: RecordWriter,
    pub(in crate::daemon) control: ControlSocket,
    pub(in crate::daemon) locks: Locks,
}

impl Adopted {
    /// Makes this supervisor's black box the one that counts, and lets go of what only the
    /// predecessor's needed.
    pub(super) fn publish(self) -> Result<Published, StartError> {
        let Self { equipped, mut machine, lapse, predecessor } = self;
        let Equipped { recovered, control, record_writer, mut drivers } = equipped;
        let Recovered { locked, left, store, names, settled, black_box } = recovered;
        let Locked { settings, origin, mut inherited, gate, mut troubles, locks, .. } = locked;
        let Left { orderly_end, keeper, black_boxes, story, .. } = left;
        let Control { socket: control, requests } = control;

        let known = story.as_ref().map(|story| story.last_incident);
        let last_incident = settled.last_id().max(known);
        publish(&black_box, &mut machine, last_incident, &mut troubles).map_err(|source| {
            StartError::BlackBox { path: settings.supervisor.runtime_dir.clone(), source }
        })?;
        black_boxes.iter().for_each(|(name, _)| keeper.forget(name));
        // A predecessor's, which is in force, is kept already.
        if inherited.claim(CONFIGURATION).is_none() || origin == Origin::File {
            in_force::keep(&settings.source, &keeper);
        }
        drivers.begin(&inherited);
        troubles.values().for_each(|trouble| tracing::error!("{trouble}"));
        let around = Around {
            started_at: wall(SystemTime::now()),
            guardian: service_manager::guardian_pid(),
            is_under_predecessor: false,
            custody: settings.supervisor.custody,
            service_manager: ServiceManager::from_env(),
            orderly_end,
            store,
            keeper,
            gate,
            terminal: Terminal::controlling(),
        };
        let upkeep = Upkeep::new(troubles);
        let signs = Signs::new(interval(&settings));
        Ok(Published {
            settings,
            machine,
            drivers,
            names,
            settled,
            requests,
            around,
            upkeep,
            lapse,
            signs,
            predecessor,
            black_box,
            record_writer,
            control,
            locks,
        })
    }
}

/// From now on our black box counts, with all that the machine has taken over.
fn publish(
    black_box: &BlackBox,
    machine: &mut Machine,
    last_incident: Option<u64>,
    troubles: &mut Troubles,
) -> io::Result<()> {
    while let Some(worker) = machine.poll_changed() {
        if let Some(checkpoint) = machine.checkpoint(worker) {
            black_box.note(worker.index()).remember(&checkpoint);
        }
    }
    if let Some(last) = last_incident {
        black_box.set_last_incident(last);
    }
    black_box.publish()?;
    // Before the old ones are let go: else it would be chance whether their room is free already.
    // Where there is no room but theirs, it is made by the upkeep.
    let reserve = black_box.reserve();
    if let Err(error) = reserve.make() {
        troubles.insert("the black box", reserve.trouble(&error));
    }
    Ok(())
}

/// How often it is to be said that the loop turns: often enough for the guardian and for the
/// service manager.
fn interval(settings: &Settings) -> Option<Duration> {
    let custody =
        settings.supervisor.custody.watchdog.filter(|_| service_manager::guardian_pid().is_some());
    custody.map(|limit| limit / 2).into_iter().chain(service_manager::watchdog()).min()
}
