//! What `check` says of each file below `tests/fixtures/config/`: word for word, in
//! `tests/golden/check/`.

use crate::harness::golden::golden;
use crate::harness::{Bed, repository, text};

/// Without what depends on the machine.
fn masked(output: &str) -> String {
    let directory = repository("tests/fixtures/config").display().to_string();
    let real = std::fs::canonicalize(&directory).expect("the fixtures").display().to_string();
    let output = output.replace(&directory, "DIRECTORY").replace(&real, "DIRECTORY");
    let lines = output.lines().map(|line| match line.split_once("this machine has ") {
        Some((before, _)) => format!("{before}this machine has PROCESSORS\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn every_kind_of_mistake_has_its_golden_diagnostic() {
    let bed = Bed::new();
    let directory = repository("tests/fixtures/config");
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .expect("the fixtures")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 24, "{names:?}");
    for name in names {
        let mut command = bed.command(&["check", "--world", &name]);
        let output = command.current_dir(&directory).output().expect("it runs");
        let said = format!(
            "{}{}exit status {}\n",
            text(&output.stderr),
            text(&output.stdout),
            output.status.code().expect("no signal")
        );
        assert!(
            said.lines().all(|line| line.chars().count() <= 160),
            "{name}: a line is too long:\n{said}"
        );
        golden(&format!("check/{}.txt", name.trim_end_matches(".yaml")), &masked(&said));
    }
}

#[test]
fn the_text_alone_is_judged_alike_on_every_machine() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [no-such-program], user: no-such-user, cwd: \
        /no/such }\n";
    let file = bed.write("elsewhere.yaml", yaml);
    let file = file.to_str().expect("UTF-8");
    let output = bed.verb(&["check", file]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let output = bed.verb(&["check", "--world", file]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "what is missing here is a warning");
    for words in
        ["no program `no-such-program`", "no user `no-such-user`", "`/no/such` does not exist"]
    {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&bed.verb(&["check", "--world", "--json", file]).stdout)
            .expect("JSON");
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(3), "{json}");
    assert_eq!((&json["valid"], &json["warnings"][0]["line"]), (&true.into(), &3.into()), "{json}");
}

#[test]
fn a_command_that_only_a_shell_understands_is_a_warning() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [\"sleep 5\"], cwd: ~/app }\n  \
        b: { command: [trap, x] }\n";
    let file = bed.write("shell.yaml", yaml);
    let output = bed.verb(&["check", "--world", file.to_str().expect("UTF-8")]);
    let said = text(&output.stderr);
    for words in [
        "`sleep 5` is one word, the name of a program",
        "split it into words: [sleep, 5]",
        "`~` is not expanded",
        "no program `trap` on this machine",
        "it is a builtin of shells: add `shell: true`",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    assert!(said.ends_with("shell.yaml: 3 warnings\n"), "each thing is warned of once:\n{said}");
}

#[test]
fn check_reads_standard_input_where_that_is_a_file_or_named() {
    let bed = Bed::new();
    bed.write("supervisord-rs.yaml", "version: 1\nworkers: {}\n");
    let file = bed.write("other.yaml", "version: 1\nworkers:\n  a: { comand: [x] }\n");
    let open = || std::fs::File::open(&file).expect("the file");
    let run = |arguments: &[&str], stdin: std::process::Stdio| {
        let mut command = bed.command(arguments);
        let output = command.stdin(stdin).current_dir(bed.directory.path()).output();
        output.expect("it runs")
    };
    for arguments in
        [&["check", "-"][..], &["check"], &["check", "--json"], &["check", "-", "--json"]]
    {
        let output = run(arguments, open().into());
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {output:?}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(said.contains("<stdin>") && said.contains("command"), "{arguments:?}: {said}");
    }
    // Nothing to read: the file that is there by default.
    let output = run(&["check"], std::process::Stdio::null());
    assert_eq!(text(&output.stdout), "supervisord-rs.yaml: valid, 0 workers\n", "{output:?}");
    let output = run(&["check", "supervisord-rs.yaml"], open().into());
    assert_eq!(output.status.code(), Some(0), "a name wins: {output:?}");
    let output = run(&["check", "-"], std::process::Stdio::null());
    assert!(text(&output.stderr).contains("the file is empty"), "{output:?}");
}

#[test]
fn programs_are_relative_to_the_file() {
    let bed = Bed::new();
    let script = bed.write("conf/x.sh", "#!/bin/sh\necho \"$PWD\"\nexec sleep 1d\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("ours");
    let yaml = "version: 1\nworkers:\n  a: { command: [./x.sh], cwd: /, ready: { exec: \
        [./../conf/y.sh] } }\n";
    let file = bed.write("conf/c.yaml", yaml);
    let ready = bed.write("conf/y.sh", "#!/bin/sh\nexit 0\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&ready, mode).expect("ours");
    let mut command = bed.command(&["run", "-c", file.to_str().expect("UTF-8")]);
    let log = || std::fs::File::create(bed.path("supervisor.log")).expect("a log");
    command.current_dir("/").stdout(log()).stderr(log());
    let supervisor = bed.attach(command);
    supervisor.wait_running();
    supervisor.wait_output("a", "/\n");
    supervisor.stop();
}

#[test]
fn run_logs_what_this_machine_does_not_have() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\nworkers:\n  a: { command: [sleep, 1d], autostart: false, cwd: /no/such }\n",
    );
    supervisor.wait("the warning", |supervisor| {
        let line = "supervisord-rs.yaml:3:53: workers.a.cwd: `/no/such` does not exist; make the \
            directory";
        supervisor.bed.log().contains(line).then_some(())
    });
    supervisor.stop();
}

#[test]
fn a_user_that_does_not_exist_is_an_incident_of_its_worker_alone() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], user: no-such-user }\n  \
        b: { worker: ticker }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("b", "running");
    let said = supervisor.wait("the reason", |supervisor| {
        supervisor.client.status().ok()?.workers[0].ending.clone()?.message
    });
    assert_eq!(said, "there is no user `no-such-user`: add it, or correct `user:`");
    supervisor.stop();
    // The owner of a socket is not left to chance.
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], sockets: [ { listen: /x.sock, \
        user: no-such-user } ] }\n";
    let file = bed.write("socket.yaml", yaml);
    let output = bed.verb(&["check", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("unknown user `no-such-user`"), "{output:?}");
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_named_before_anything_starts() {
    let bed = Bed::new();
    let (longest, longer) = (format!("/{}", "x".repeat(106)), format!("/{}", "x".repeat(107)));
    let check = |yaml: &str| {
        let file = bed.write("length.yaml", yaml).display().to_string();
        let output = bed.verb(&["check", &file]);
        (output.status.code(), text(&output.stderr))
    };
    let socket = |path: &str| {
        format!(
            "version: 1\nworkers:\n  a: {{ command: [sleep, 1d], sockets: [{{ listen: {path} }}] \
                }}\n"
        )
    };
    assert_eq!(check(&socket(&longest)), (Some(0), String::new()));
    let (status, said) = check(&socket(&longer));
    assert_eq!(status, Some(78), "{said}");
    for words in [
        "workers.a.sockets[0]: the path of this socket has 108 bytes",
        "length.yaml:3:40",
        "at most 107 bytes, as unix(7) has it",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    // The control socket is in the runtime directory.
    let place =
        |path: &str| format!("version: 1\nsupervisor: {{ runtime_dir: {path} }}\nworkers: {{}}\n");
    let name = "/control.sock".len();
    assert_eq!(check(&place(&longest[..107 - name])), (Some(0), String::new()));
    let (status, said) = check(&place(&longest[..108 - name]));
    assert_eq!(status, Some(78), "{said}");
    for words in [
        "supervisor.runtime_dir: the path of the control socket in it would have 108 bytes",
        "length.yaml:2:",
        "a directory with which it has at most 107 bytes",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
}

#[test]
fn errors_that_are_not_shown_are_counted_like_those_that_are() {
    let bed = Bed::new();
    let workers: String =
        (0..150).map(|index| format!("  w{index}: {{ comand: [sleep, 1d] }}\n")).collect();
    let file = bed.write("many.yaml", &format!("version: 1\nworkers:\n{workers}"));
    let output = bed.verb(&["check", file.to_str().expect("UTF-8")]);
    let said = text(&output.stderr);
    assert!(
        said.contains("... and 50 more\n") && said.ends_with("many.yaml: 150 errors\n"),
        "{said}"
    );
}

#[test]
fn a_socket_without_a_directory_is_in_that_of_the_file() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  a: { command: [sleep, 1d], sockets: ['unix:./k.sock'] }\n";
    let supervisor = bed.start(yaml);
    supervisor.wait_phase("a", "running");
    assert!(bed.path("k.sock").exists(), "{}", bed.log());
    supervisor.stop();
}
