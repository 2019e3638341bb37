//! A configuration of the repository on a machine whose processors are all busy: what works is
//! never taken for hung.

use std::process::{Child, Command};
use std::time::Duration;

use crate::harness::{Bed, find, repository};

/// A process that does nothing but compute, until this is dropped.
struct Burner(Child);

impl Burner {
    fn new() -> Self {
        let mut command = Command::new("sh");
        Self(command.args(["-c", "while :; do :; done"]).spawn().expect("a shell"))
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_worker_of_the_mixed_configuration_counts_as_hung_while_all_processors_are_busy() {
    let _machine = crate::alone();
    let bed = Bed::new();
    let yaml = std::fs::read_to_string(repository("config/mixed.yaml")).expect("it is there");
    assert!(yaml.contains("heartbeat: 1s"), "short heartbeats are the subject");
    // Twice as long: beside busy processors, the machine may stand still for half a second.
    let supervisor = bed.start(&yaml.replace("heartbeat: 1s", "heartbeat: 2s"));
    supervisor.wait_running();
    let processors = std::thread::available_parallelism().expect("a number").get();
    let burners: Vec<Burner> = (0..2 * processors).map(|_| Burner::new()).collect();
    // The subject is time: ten heartbeats.
    std::thread::sleep(Duration::from_secs(20));
    drop(burners);
    let before = supervisor.status();
    let status = supervisor.wait("all that compute to go on", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let went_on = |name: &&str| find(&status, name).progress > find(&before, name).progress;
        ["clock", "primes", "hashes"].iter().all(went_on).then_some(status)
    });
    assert_eq!(supervisor.incidents().len(), 0, "{:?}; {}", supervisor.incidents(), bed.log());
    assert!(status.workers.iter().all(|worker| worker.generation == 1), "{status:?}");
    supervisor.stop();
}
