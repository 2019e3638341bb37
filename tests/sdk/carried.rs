//! Queues that the kernel carries, and what a fault makes of their messages.

use crate::harness::Bed;
use crate::{Test, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[(
    "an_incident_says_what_becomes_of_the_message_of_a_fault",
    an_incident_says_what_becomes_of_the_message_of_a_fault,
)];

fn an_incident_says_what_becomes_of_the_message_of_a_fault() {
    for (carrier, then) in
        [("ring", "delivered again"), ("pipe", "lost"), ("socket", "lost"), ("mqueue", "lost")]
    {
        let delivery = if carrier == "ring" { "" } else { ", delivery: at-most-once" };
        let bed = Bed::new();
        let supervisor = start(
            &bed,
            &format!(
                "version: 1\nsupervisor: {{ fault_injection: allow }}\nresources: {{ jobs: {{ \
                 kind: queue, by: {carrier}, message: 64{delivery} }} }}\nworkers:\n  taker: {{ \
                 worker: ticker, isolation: process, uses: [jobs] }}\n"
            ),
        );
        supervisor.wait_running();
        supervisor.client.inject("taker", "die-with-message").expect("a fault");
        let said = supervisor.wait_incident(0).sentence;
        assert!(said.contains(&format!("1 message of jobs {then}")), "{carrier}: {said}");
        supervisor.stop();
    }
}
