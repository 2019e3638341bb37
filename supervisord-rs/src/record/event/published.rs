//! Events as readers and hooks get them: a name and JSON, which stay as they are from one version
//! to the next.

use serde_json::{Value, json};

use super::What;
use crate::record::words;

impl What<'_> {
    /// The name of the kind of event.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Phase { .. } => "phase",
            Self::IncidentOpened { .. } => "incident-opened",
            Self::IncidentAgain { .. } => "incident-again",
            Self::IncidentSettled { .. } => "incident",
            Self::Injected { .. } => "injected",
            Self::Adopted { .. } => "adopted",
            Self::NotAdopted { .. } => "not-adopted",
            Self::Remains { .. } => "remains",
            Self::Probe { .. } => "probe",
            Self::HookFailed { .. } => "hook-failed",
            Self::InVain { .. } => "in-vain",
            Self::StartsWithout { .. } => "starts-without",
            Self::GivingUp { .. } => "giving-up",
            Self::RolledBack { .. } => "rolled-back",
            Self::Command { .. } => "command",
            Self::NotifyRefused { .. } => "notify-refused",
            Self::Frozen { .. } => "frozen",
            Self::StopCommandFailed { .. } => "stop-command",
            Self::LogTrouble { .. } => "log-trouble",
            Self::LogRecovered { .. } => "log-recovered",
        }
    }

    /// What there is to know of it besides who, where and when. Allocates: for observers that have
    /// an audience.
    #[must_use]
    pub fn detail(&self) -> Value {
        match self {
            Self::Phase { from, to, ending, fault_domain: _, has_succeeded: _ } => {
                json!({ "from": words::phase(*from), "to": words::phase(*to), "ending": ending })
            }
            Self::IncidentOpened { incident, ending, names, record: _ } => {
                let lost = incident.lost.iter();
                let lost = lost.map(|loss| names.worker(loss.incarnation.worker));
                json!({
                    "id": incident.id.0,
                    "domain": &names.domains[incident.domain.index()],
                    "cause": words::cause(incident.ending.cause),
                    "ending": ending,
                    "lost": lost.collect::<Vec<_>>(),
                })
            }
            Self::IncidentAgain { id, count } => json!({ "id": id.0, "count": count }),
            Self::IncidentSettled { record, recovered: _ } => json!(***record),
            Self::Injected { fault } => json!({ "fault": fault }),
            Self::Adopted { pid, phase } => json!({ "pid": pid, "phase": words::phase(*phase) }),
            Self::NotAdopted { pid, missing } => json!({ "pid": pid, "missing": missing }),
            Self::Remains { processes, why: _ } => json!({ "processes": processes }),
            Self::Probe { kind, good, is_unready: _ } => {
                json!({ "probe": kind.name(), "good": good })
            }
            Self::HookFailed { command, why } => json!({ "command": command, "why": why }),
            Self::InVain { on, why } | Self::StartsWithout { on, why } => {
                json!({ "on": on, "why": why })
            }
            Self::GivingUp { why, exit_status } => {
                json!({ "why": why, "exit_status": exit_status })
            }
            Self::RolledBack { binary, why, had_rested: _ } => {
                json!({ "binary": binary.to_string_lossy(), "why": why })
            }
            Self::Command { verb, subject, uid, pid } => {
                json!({ "verb": verb, "subject": subject, "uid": uid, "pid": pid })
            }
            Self::NotifyRefused { sender, why } => json!({ "sender": sender, "why": why }),
            Self::Frozen { why } => json!({ "why": why }),
            Self::StopCommandFailed { error } => json!({ "error": error }),
            Self::LogTrouble { worker, target, error } => {
                json!({ "worker": worker, "target": target, "error": error })
            }
            Self::LogRecovered { worker, target, lost_bytes } => {
                json!({ "worker": worker, "target": target, "lost_bytes": lost_bytes })
            }
        }
    }
}
