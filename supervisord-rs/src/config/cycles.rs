//! Workers that wait for each other for ever.

use supervision::spec::WorkerSpec;

/// Every cycle of dependencies, in full: the first is named again at the end.
pub(super) fn find(workers: &[WorkerSpec]) -> Vec<Vec<usize>> {
    let mut state = vec![Visit::Never; workers.len()];
    (0..workers.len())
        .filter_map(|start| visit(start, workers, &mut state, &mut Vec::new()))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Never,
    Open,
    Done,
}

/// Follows dependencies; a worker met again on the way is a cycle. Not recursive: a chain may be as
/// long as the file.
fn visit(
    start: usize,
    workers: &[WorkerSpec],
    state: &mut [Visit],
    path: &mut Vec<usize>,
) -> Option<Vec<usize>> {
    if state[start] != Visit::Never {
        return None;
    }
    let mut next = vec![0];
    path.push(start);
    state[start] = Visit::Open;
    let mut found = None;
    while let (Some(&worker), Some(position)) = (path.last(), next.last_mut()) {
        let Some(dependency) = workers[worker].depends_on.get(*position) else {
            state[worker] = Visit::Done;
            path.pop();
            next.pop();
            continue;
        };
        *position += 1;
        let on = dependency.on.index();
        match state[on] {
            Visit::Never => {
                state[on] = Visit::Open;
                path.push(on);
                next.push(0);
            }
            Visit::Open if found.is_none() => {
                let begin = path.iter().position(|&index| index == on).unwrap_or(0);
                found = Some(path[begin..].iter().copied().chain([on]).collect());
            }
            Visit::Open | Visit::Done => {}
        }
    }
    found
}
