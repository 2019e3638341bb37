//! `drill record`: a scenario from an incident of a real run. It strikes the same worker in the same
//! way, and expects that no more is lost than then.

use std::fmt::Write as _;
use std::path::Path;

use workers::fault::{Fault, Injection, Moment};

use super::first::quoted;
use crate::config::{Launch, Program, Settings};
use crate::control::protocol::IncidentRecord;

/// For all to be back, where it was faster then.
const BACK_MIN_S: u64 = 10;

/// How an incident is made to happen again.
#[derive(Debug, PartialEq, Eq)]
struct Again {
    fault: String,
    /// Why another fault stands in for what happened.
    instead: Option<String>,
}

impl Again {
    fn same(fault: &str) -> Self {
        Self { fault: fault.to_owned(), instead: None }
    }

    fn nearest(fault: &str, why: &str) -> Self {
        Self { fault: fault.to_owned(), instead: Some(why.to_owned()) }
    }
}

/// The text of the scenario.
///
/// # Errors
/// The incident cannot be made to happen again; why.
pub(crate) fn scenario(
    file: &Path,
    settings: &Settings,
    incident: &IncidentRecord,
) -> Result<String, String> {
    let id = incident.id;
    let mut text = String::new();
    for line in format!("Incident {id}, {}: {}", incident.at, incident.sentence).lines() {
        let _ = writeln!(text, "# {line}");
    }
    let mut steps = "  - wait: { running: all, within: 30s }\n".to_owned();
    let dies = match &incident.worker {
        Some(worker) => {
            let find = |launch: &Launch| launch.name == *worker;
            let Some(at) = settings.launches.iter().position(find) else {
                let file = file.display();
                return Err(format!("{worker} of incident {id} is not in {file}"));
            };
            let (launch, spec) = (&settings.launches[at], &settings.spec.workers[at]);
            let again = again(incident, matches!(launch.program, Program::Command(_)))?;
            if let Some(why) = &again.instead {
                let _ = writeln!(text, "# {why}");
            }
            steps.push_str(&strike(worker, &again.fault, spec.autostart));
            if spec.critical { "ended" } else { life(incident) }
        }
        // No worker's doing: someone killed the supervisor.
        None if incident.supervisor_died => {
            steps.push_str("  - mark: before\n  - kill: supervisor\n");
            life(incident)
        }
        None => return Err(format!("incident {id} is of no worker, and of no supervisor")),
    };
    let name = incident.worker.as_deref().unwrap_or("the supervisor");
    let title = format!("incident {id}, {} in {name}", incident.fault.kind);
    let file = quoted(&file.display().to_string());
    let _ = write!(
        text,
        "version: 1\nscenario: {}\nconfiguration: {file}\nsteps:\n{steps}",
        quoted(&title)
    );
    text.push_str(&expectation(incident, dies));
    text.push_str("finally: { left_behind: nothing }\n");
    Ok(text)
}

const fn life(incident: &IncidentRecord) -> &'static str {
    if incident.supervisor_died { "died" } else { "alive" }
}

/// From the start of the victim to its fault.
fn strike(worker: &str, fault: &str, starts: bool) -> String {
    let worker = quoted(worker);
    let mut steps = String::new();
    if !starts {
        let _ = writeln!(steps, "  - start: {worker}");
    }
    let _ = write!(
        steps,
        "  - mark: before\n  - inject: {{ worker: {worker}, fault: {} }}\n",
        quoted(fault)
    );
    let moment = fault.parse().map_or(Moment::Now, |one: Injection| one.fault.moment());
    if moment != Moment::Now {
        let _ = writeln!(steps, "  - restart: {worker}");
    }
    steps
}

/// What was so then.
fn expectation(incident: &IncidentRecord, supervisor: &str) -> String {
    let lost: Vec<String> = incident.lost.iter().map(|name| quoted(name)).collect();
    let mut text =
        format!("  - expect:\n      lost: [{}]\n      supervisor: {supervisor}\n", lost.join(", "));
    if let (Some(us), true, true) =
        (incident.recovered_us, incident.missing.is_empty(), supervisor != "ended")
    {
        // Other machines are slower, and this one at other times.
        let seconds = us.div_ceil(1_000_000).saturating_mul(3).max(BACK_MIN_S);
        let _ = writeln!(text, "      back: {{ within: {seconds}s }}");
        let _ = writeln!(text, "      within: {}s", seconds.saturating_mul(2));
    }
    if let Some(worker) = incident.worker.as_ref().filter(|_| supervisor != "ended") {
        let _ = writeln!(text, "      incident: {{ worker: {}, injected: true }}", quoted(worker));
    }
    text
}

/// The fault that ends a worker as it ended then.
fn again(incident: &IncidentRecord, is_command: bool) -> Result<Again, String> {
    let ending = &incident.ending;
    let exit = ending.exit_code.map(|code| code & 0xff);
    if incident.fault.injected {
        return Ok(match (incident.fault.kind.as_str(), exit) {
            (exits, Some(code)) if exits == Fault::Exit.name() => {
                Again::same(&format!("exit:{code}"))
            }
            (kind, _) => Again::same(kind),
        });
    }
    // A `command:` has no code that could commit a fault: a signal from outside does to it what its
    // own did.
    let both = |code: &str, command: &str| Again::same(if is_command { command } else { code });
    Ok(match (ending.cause.as_str(), exit) {
        ("panic", _) => both("panic", "signal-abrt"),
        ("panic-no-unwind", _) => both("panic-extern-c", "signal-abrt"),
        ("segfault", _) => both("segfault", "signal-segv"),
        ("stack-overflow", _) => both("stack-overflow", "signal-segv"),
        ("abort", _) => both("abort", "signal-abrt"),
        ("illegal-instruction", _) => both("illegal-instruction", "signal-ill"),
        ("floating-point", _) => both("floating-point", "signal-fpe"),
        ("bus-error", _) => both("bus-error", "signal-bus"),
        ("hang" | "unhealthy", _) => both("hang", "signal-stop"),
        ("vanished", _) => both("vanish", "signal-kill"),
        ("killed", _) => Again::same("signal-kill"),
        ("signal", _) if ending.signal.as_deref() == Some("SIGTERM") => Again::same("signal-term"),
        ("signal", _) if ending.signal.as_deref() == Some("SIGPIPE") && !is_command => {
            Again::same("broken-pipe")
        }
        ("signal", _) => {
            let signal = ending.signal.as_deref().unwrap_or("this signal");
            Again::nearest(
                "signal-kill",
                &format!("No fault sends {signal}: SIGKILL stands for it."),
            )
        }
        ("out-of-memory", _) => Again::nearest(
            "signal-kill",
            "SIGKILL stands for the kernel's, which came when the memory was used up.",
        ),
        ("error" | "permanent-error", Some(code)) if !is_command => {
            Again::same(&format!("exit:{code}"))
        }
        ("error" | "permanent-error", Some(code)) => Again::nearest(
            "signal-kill",
            &format!("A `command:` cannot be made to exit with {code}: SIGKILL stands for it."),
        ),
        ("error" | "permanent-error", None) => {
            Again::nearest("panic", "No fault returns an error: a panic stands for it.")
        }
        (cause, _) => {
            return Err(format!(
                "incident {} cannot be repeated by a fault ({cause}): write the scenario by hand, or \
                 begin with `supervisord-rs drill init -c FILE`",
                incident.id
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::EndingReport;

    fn incident(cause: &str) -> IncidentRecord {
        let ending = EndingReport { cause: cause.to_owned(), ..EndingReport::default() };
        IncidentRecord { id: 7, ending, ..IncidentRecord::default() }
    }

    #[test]
    fn every_fault_that_a_record_names_is_in_the_catalogue() {
        let causes = [
            "panic",
            "panic-no-unwind",
            "segfault",
            "stack-overflow",
            "abort",
            "illegal-instruction",
            "floating-point",
            "bus-error",
            "hang",
            "unhealthy",
            "vanished",
            "killed",
            "signal",
            "out-of-memory",
            "error",
        ];
        for cause in causes {
            for is_command in [false, true] {
                let again = again(&incident(cause), is_command).expect(cause);
                let injection: Injection = again.fault.parse().expect(cause);
                let is_outside = injection.fault.signal().is_some();
                // What returns an error instead of an exit status is code.
                assert!(is_outside || !is_command || cause == "error", "{cause}: {again:?}");
            }
        }
    }

    #[test]
    fn what_no_fault_does_is_refused_or_stood_in_for() {
        for cause in ["launch-failure", "start-timeout", "unknown", "domain-lost"] {
            let why = again(&incident(cause), false).expect_err(cause);
            assert!(why.contains(cause) && why.contains("drill init"), "{why}");
        }
        let mut exited = incident("error");
        exited.ending.exit_code = Some(3);
        assert_eq!(again(&exited, false), Ok(Again::same("exit:3")));
        let command = again(&exited, true).expect("SIGKILL");
        assert!(command.instead.is_some_and(|why| why.contains("exit with 3")));
    }
}
