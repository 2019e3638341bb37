//! What workers share, as a table: who has it, who waits for it.

use super::harmless::harmless;
use super::table::{Cell, Column, fit};
use crate::control::protocol::{HolderReport, ResourceStatus};
use crate::record::words;

/// Of each, as wide as `room` lets it be.
pub(super) fn text(resources: &[ResourceStatus], room: Option<usize>) -> String {
    let titles =
        [("RESOURCE", 0), ("KIND", 0), ("SCOPE", 3), ("HELD BY", 0), ("WAITING", 0), ("NOTE", 1)];
    let mut columns = titles.map(|(title, rank)| Column::new(title, rank));
    for resource in resources {
        let cells: [Cell; 6] = [
            harmless(&resource.name).into_owned().into(),
            match &resource.by {
                Some(by) => format!("{} by {by}", resource.kind).into(),
                None => resource.kind.clone().into(),
            },
            resource.scope.clone().into(),
            names(&resource.holders).into(),
            names(&resource.waiters).into(),
            note(resource).into(),
        ];
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.cells.push(cell);
        }
    }
    fit(columns.into(), room)
}

/// Each with how often it is there.
fn names(holders: &[HolderReport]) -> String {
    let name = |holder: &HolderReport| match (&holder.worker, holder.pid) {
        (Some(worker), _) => harmless(worker).into_owned(),
        (None, Some(pid)) if pid == holder.tid => format!("PID {pid}"),
        (None, Some(pid)) => format!("thread {} of PID {pid}", holder.tid),
        (None, None) => format!("thread {} (dead)", holder.tid),
    };
    let mut counted: Vec<(String, usize)> = Vec::new();
    for name in holders.iter().map(name) {
        match counted.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name, 1)),
        }
    }
    let shown = counted.into_iter().map(|(name, count)| match count {
        1 => name,
        count => format!("{name} ×{count}"),
    });
    let all: Vec<String> = shown.collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}

fn note(resource: &ResourceStatus) -> String {
    let mut notes = Vec::new();
    if resource.poisoned {
        notes.push("poisoned by a death: all get an error".to_owned());
    }
    if !resource.made {
        notes.push("not made yet".to_owned());
    }
    if let Some(messages) = resource.messages.filter(|_| resource.made) {
        let (ready, taken, capacity) = (messages.ready, messages.taken, messages.capacity);
        notes.push(format!("{ready} of {capacity} messages, {taken} taken"));
    }
    match resource.lost_permits {
        Some(1) => notes.push("1 permit lost".to_owned()),
        Some(count) => notes.push(format!("{count} permits lost")),
        None => {}
    }
    if let Some(ms) = resource.held_ms.filter(|ms| *ms > 0) {
        notes.push(format!("held for {}", words::span(ms)));
    }
    notes.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::MessagesReport;

    #[test]
    fn those_that_have_it_are_named_with_how_often() {
        let holder = |worker: Option<&str>, pid| HolderReport {
            worker: worker.map(str::to_owned),
            pid,
            tid: 7,
        };
        let semaphore = ResourceStatus {
            posix_name: None,
            name: "gate".into(),
            kind: "semaphore".into(),
            by: None,
            scope: "machine".into(),
            users: Vec::new(),
            made: true,
            path: None,
            holders: vec![
                holder(Some("a"), Some(5)),
                holder(Some("a"), Some(5)),
                holder(None, None),
            ],
            held_ms: None,
            waiters: vec![holder(None, Some(9)), holder(None, Some(7))],
            messages: None,
            lost_permits: Some(2),
            poisoned: false,
        };
        let queue = ResourceStatus {
            name: "jobs".into(),
            kind: "queue".into(),
            holders: Vec::new(),
            waiters: Vec::new(),
            messages: Some(MessagesReport { ready: 3, taken: 1, capacity: 8 }),
            lost_permits: None,
            ..semaphore.clone()
        };
        let shown = text(&[semaphore, queue], None);
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        let wanted = [
            "RESOURCE  KIND       SCOPE    HELD BY              WAITING        NOTE",
            "gate      semaphore  machine  a ×2 thread 7 (dead)  thread 7 of PID 9 PID 7 2 permits lost",
            "jobs      queue      machine  -                    -              3 of 8 messages, 1 taken",
        ];
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(lines.iter().map(|line| words(line)).collect::<Vec<_>>(), wanted.map(words));
    }
}
