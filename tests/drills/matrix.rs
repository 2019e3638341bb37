//! `drill matrix`: what each fault destroys in each isolation, and whether that is as expected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;
use supervisord_rs::config::SOCKET;
use supervisord_rs::control::client::Client;

use crate::harness::{self, Bed, find, repository, text};
use crate::{assert_nothing_left, beside_others, command, drill};

/// What an independent reader of HTML found.
#[derive(Debug, Deserialize)]
struct Page {
    elements: BTreeMap<String, usize>,
    links: Vec<String>,
    ids: Vec<String>,
    pre: Vec<String>,
    /// Cells of the heat map that are marked.
    differing: usize,
}

/// Reads a page back, which refers to nothing but itself.
#[track_caller]
fn page(file: &Path) -> Page {
    let read = Command::new("python3")
        .args([repository("tests/fixtures/read_page.py").as_path(), file])
        .output()
        .expect("python3");
    assert!(read.status.success(), "{}", text(&read.stderr));
    let page: Page = serde_json::from_slice(&read.stdout).expect("JSON");
    for foreign in ["script", "link", "img", "iframe", "object", "image", "use", "base"] {
        assert!(!page.elements.contains_key(foreign), "{foreign}");
    }
    for link in &page.links {
        let target = link.strip_prefix('#').unwrap_or_else(|| panic!("{link} leads elsewhere"));
        assert!(page.ids.iter().any(|id| id == target), "{link} leads nowhere");
    }
    page
}

fn json(bed: &Bed, arguments: &[&str]) -> Value {
    let output = drill(bed, &[&["matrix", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn each_cell_says_who_was_lost_and_is_as_the_catalogue_says() {
    let bed = Bed::new();
    let only = ["--only", "segfault,panic,leak,signal-term", "--jobs", "2", "--strict"];
    let matrix = json(&bed, &[&only[..], &["--repeat", "2", "--html", "page.html"]].concat());
    assert_eq!((&matrix["version"], &matrix["repeat"]), (&1.into(), &2.into()));
    assert!(matrix["machine"]["kernel"].as_str().is_some_and(|kernel| kernel.contains("Linux")));
    let found: Vec<(&str, &str, &str, Vec<usize>)> = matrix["cells"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|cell| {
            let word = |key: &str| cell[key].as_str().expect("a word");
            let trials = cell["trials"].as_array().expect("a list");
            let lost = trials.iter().map(|trial| trial["lost"].as_array().expect("names").len());
            (word("fault"), word("column"), word("expected"), lost.collect())
        })
        .collect();
    let expected = [
        ("segfault", "thread", "domain", vec![4, 4]),
        ("segfault", "thread-contained", "domain", vec![4, 4]),
        ("segfault", "cell", "domain", vec![4, 4]),
        ("segfault", "process", "worker", vec![1, 1]),
        ("panic", "thread", "domain", vec![4, 4]),
        ("panic", "thread-contained", "worker", vec![1, 1]),
        ("panic", "cell", "domain", vec![4, 4]),
        ("panic", "process", "worker", vec![1, 1]),
        ("leak", "thread", "nothing", vec![0, 0]),
        ("leak", "thread-contained", "nothing", vec![0, 0]),
        ("leak", "cell", "nothing", vec![0, 0]),
        ("leak", "process", "nothing", vec![0, 0]),
        ("signal-term", "thread", "-", vec![]),
        ("signal-term", "thread-contained", "-", vec![]),
        ("signal-term", "cell", "domain", vec![4, 4]),
        ("signal-term", "process", "worker", vec![1, 1]),
    ];
    assert_eq!(found, expected);
    let page = page(&bed.path("page.html"));
    assert_eq!((page.links.len(), page.differing), (14, 0), "{page:?}");
    assert_eq!(page.elements["svg"], 2, "how the times spread");
    // Four trials of each cell with an incident, and a command for each cell.
    assert!(page.pre.contains(
        &"supervisord-rs drill matrix --only segfault --isolation cell --repeat 2".to_owned()
    ));
}

#[test]
fn the_command_of_a_cell_tries_that_cell_alone() {
    let bed = Bed::new();
    let matrix = json(&bed, &["--only", "exit:3", "--isolation", "process"]);
    let again = matrix["cells"][0]["again"].as_str().expect("a command");
    let words: Vec<&str> = again.split(' ').collect();
    assert_eq!(words[..2], ["supervisord-rs", "drill"]);
    let output = drill(&bed, &words[2..]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("| exit:3 ") && told.contains("The only cell is as"), "{told}");
    assert!(text(&output.stderr).contains("[1/1] exit:3 in b of a b c d, isolation process"));
}

/// The supervisor of the only trial; `None`: it is over.
fn trial(bed: &Bed, matrix: &mut Child) -> Option<Client> {
    bed.wait("the socket of the trial", || {
        if matrix.try_wait().expect("our child").is_some() {
            return Some(None);
        }
        let directories = std::fs::read_dir(bed.path("tmp")).ok()?.flatten();
        let mut sockets = directories.flat_map(|one| sockets(&one.path()));
        sockets.next().map(|socket| Some(Client::new(&socket)))
    })
}

/// The control sockets below a directory.
fn sockets(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let below = |path: PathBuf| match path.file_name() {
        Some(name) if name == SOCKET => vec![path],
        _ if path.is_dir() => sockets(&path),
        _ => Vec::new(),
    };
    entries.flat_map(|entry| below(entry.path())).collect()
}

/// A victim that has done nothing for so long has committed its fault, which lasts 2 s.
const STILL: Duration = Duration::from_millis(500);

/// A matrix whose trial loses a bystander: it dies while the victim, which lives on, does no work.
/// Where the processors were taken away meanwhile, it is too late for that, and the next one is
/// begun.
fn with_a_loss_from_elsewhere(bed: &Bed, arguments: &[&str]) -> Output {
    let alone = ["matrix", "--only", "livelock", "--isolation", "process"];
    bed.wait("a trial in which a bystander dies in time", || {
        let mut child = command(bed, &[&alone[..], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let bystander = trial(bed, &mut child).and_then(|client| bystander(&client));
        bystander.into_iter().for_each(|pid| harness::kill(pid, Signal::SIGKILL));
        let output = child.wait_with_output().expect("our child");
        assert_nothing_left(bed);
        bystander.map(|_| output)
    })
}

/// The process of one that the fault does not strike, once the victim stands still; `None`: the
/// trial is over.
fn bystander(client: &Client) -> Option<i32> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let status = client.status().ok()?;
        let progress = find(&status, "b").progress.unwrap_or(0);
        if progress != last || progress == 0 {
            (last, since) = (progress, Instant::now());
        } else if since.elapsed() > STILL {
            return find(&status, "a").pid;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cell_that_differs_is_marked_and_fails_where_that_is_asked_for() {
    let _others = beside_others();
    let bed = Bed::new();
    let output = with_a_loss_from_elsewhere(&bed, &["--strict", "--html", "page.html"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for words in [
        "| (!) 1",
        "livelock as process: nothing is expected",
        "  trial 1: lost: expected nothing, found a",
        "again: supervisord-rs drill matrix --only livelock --isolation process --repeat 1",
        "1 of 1 cell is not as the catalogue says, in 1 trial.",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert_eq!(page(&bed.path("page.html")).differing, 1);
    let output = with_a_loss_from_elsewhere(&bed, &[]);
    let told = text(&output.stdout);
    assert!(told.contains("| (!) 1"), "{told}");
    assert_eq!(output.status.code(), Some(0), "it is marked, and no failure: {told}");
}

/// Begins many trials, two at once, and waits until the first is over.
fn begin(bed: &Bed) -> Child {
    let many = ["matrix", "--only", "segfault", "--repeat", "200", "--jobs", "2"];
    let log = std::fs::File::create(bed.path("progress.log")).expect("a file");
    let mut command = command(bed, &many);
    let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the program runs");
    bed.wait("two trials at once", || {
        let progress = std::fs::read_to_string(bed.path("progress.log")).ok()?;
        let going = std::fs::read_dir(bed.path("tmp")).ok()?.count();
        (progress.contains("[1/800") && going == 2).then_some(())
    });
    child
}

#[test]
fn an_interrupt_ends_all_trials_and_leaves_nothing() {
    let _others = beside_others();
    let bed = Bed::new();
    let mut child = begin(&bed);
    harness::kill(child.id() as i32, Signal::SIGTERM);
    assert_eq!(child.wait().expect("our child").code(), Some(143));
    assert_nothing_left(&bed);
    let told = std::fs::read_to_string(bed.path("progress.log")).expect("readable");
    assert!(told.contains("interrupted: what was running was ended"), "{told}");
}

#[test]
fn a_matrix_that_is_killed_takes_its_trials_along() {
    let _others = beside_others();
    let bed = Bed::new();
    let mut child = begin(&bed);
    child.kill().expect("our child");
    child.wait().expect("our child");
    bed.wait("nothing to be left", || {
        let is_empty = std::fs::read_dir(bed.path("tmp")).expect("readable").count() == 0;
        (bed.processes().is_empty() && is_empty).then_some(())
    });
}

#[test]
fn what_is_not_a_matrix_is_refused_before_anything_runs() {
    let bed = Bed::new();
    bed.write("app.yaml", "version: 1\nworkers: { a: { worker: ticker } }\n");
    for (arguments, words) in [
        (&["--only", "segfalt"][..], "segfault"),
        (&["--isolation", "process-contained"], "thread-contained, cell"),
        (&["--repeat", "0"], "--repeat"),
        (&["--html", "nowhere/page.html"], "cannot write nowhere/page.html"),
        (&["-c", "app.yaml"], "compare -c FILE --worker NAME"),
    ] {
        let output = drill(&bed, &[&["matrix"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("[1/"), "{said}");
    }
}
