//! A worker's identity and execution environment: the tests read each setting from inside the
//! worker.

use crate::harness::{Bed, is_root, kill, text};

/// Starts one worker that runs `script`, and returns its output.
#[track_caller]
fn printed(keys: &str, script: &str) -> String {
    let bed = Bed::new();
    bed.write("env", "# a comment\nexport FROM_FILE=\"two words\"\nBOTH=file\n");
    bed.write("secret", "hush");
    let script = script.replace('\n', "\n        ");
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    shell: true\n    command: |\n        {script}\n        \
            echo END; exec sleep 1d\n    ready: {{ after: 0s }}\n{keys}"
    );
    let supervisor = bed.start(&yaml);
    let output = supervisor.wait_output("w", "END\n");
    supervisor.stop();
    output
}

/// A single launch that fails: its message and exit code.
#[track_caller]
fn failure(keys: &str) -> (String, Option<i32>) {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nworkers:\n  good: {{ worker: ticker }}\n  w:\n    restart: never\n{keys}"
    );
    let supervisor = bed.start(&yaml);
    let worker = supervisor.wait_phase("w", "finished");
    supervisor.wait_phase("good", "running");
    let ending = worker.ending.expect("an ending");
    assert_eq!(ending.status, "not-launched", "{ending:?}");
    supervisor.stop();
    (ending.message.unwrap_or_default(), ending.exit_code)
}

#[test]
fn user_and_groups_are_changed_with_what_a_login_sets() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let output = printed(
        "    user: nobody\n    groups: [daemon, adm]\n    cwd: /\n",
        "id -un; id -Gn; echo $USER $HOME; grep -E 'Uid|Gid' /proc/self/status",
    );
    assert!(output.starts_with("nobody\n"), "{output}");
    let groups = output.lines().nth(1).expect("groups");
    assert!(
        groups.contains("nogroup") && groups.contains("daemon") && groups.contains("adm"),
        "{output}"
    );
    assert!(!groups.contains("root"), "{output}");
    assert!(output.contains("nobody /nonexistent"), "{output}");
    assert!(output.contains("Uid:\t65534\t65534\t65534\t65534"), "{output}");
}

#[test]
fn priorities_limits_and_masks_are_those_of_the_configuration() {
    let output = printed(
        "    umask: \"027\"\n    nice: 5\n    io_priority: idle\n    oom_score_adj: 500\n    \
            cpus: [0]\n    \
         limits: { open_files: 512, core: 0, stack: { soft: 1MiB, hard: 2MiB } }\n    cwd: /usr\n",
        "umask; nice; ionice; cat /proc/self/oom_score_adj; ulimit -Sn; ulimit -Hn; ulimit -Ss; \
            ulimit -Hs; pwd; taskset -pc $$",
    );
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(&lines[..5], ["0027", "5", "idle", "500", "512"], "{output}");
    assert_ne!(lines[5], "512", "the hard limit is not lowered by a soft one: {output}");
    assert_eq!(&lines[6..9], ["1024", "2048", "/usr"], "{output}");
    assert!(lines[9].ends_with("affinity list: 0"), "{output}");
}

#[test]
fn the_environment_is_inherited_or_clean_and_later_sources_win() {
    let keys = "    env_file: env\n    env: { BOTH: own, EMPTY: \"\" }\n";
    let output = printed(
        keys,
        "echo \"$FROM_FILE|$BOTH|${EMPTY-unset}|${LOGS_DIRECTORY:+inherited}\"; env | grep \
            ^SUPERVISOR_ | sort",
    );
    assert!(output.starts_with("two words|own||inherited\n"), "{output}");
    for variable in ["SUPERVISOR_ENABLED=1", "SUPERVISOR_PROCESS_NAME=w", "SUPERVISOR_GROUP_NAME=w"]
    {
        assert!(output.contains(variable), "{output}");
    }
    let clean =
        printed("    inherit_env: [PATH]\n", "echo \"${LOGS_DIRECTORY-clean}\"; echo $PATH");
    assert!(clean.starts_with("clean\n/"), "{clean}");
}

#[test]
fn a_secret_is_read_by_descriptor_and_appears_nowhere_else() {
    let bed = Bed::new();
    bed.write("secret", "hush-hush-4711");
    let user = if is_root() { "    user: nobody\n    cwd: /\n" } else { "" };
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    shell: true\n    \
            command: 'test \"$(cat $PASSWORD_FILE)\" = hush-hush-4711 && echo MATCH; (echo x > \
            $PASSWORD_FILE) 2>/dev/null || echo READONLY; exec sleep 1d'\n    \
         secrets: {{ PASSWORD_FILE: secret }}\n    ready: {{ after: 0s }}\n{user}"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("w", "READONLY");
    assert!(bed.output("w").contains("MATCH"));
    let worker = supervisor.wait_phase("w", "running");
    let pid = worker.pid.expect("running");
    for place in ["environ", "cmdline"] {
        let text = String::from_utf8_lossy(
            &std::fs::read(format!("/proc/{pid}/{place}")).expect("readable"),
        )
        .into_owned();
        assert!(!text.contains("hush-4711"), "in {place}: {text}");
    }
    assert!(!format!("{:?}{}", supervisor.status(), bed.log()).contains("hush-4711"));
    supervisor.stop();
}

#[test]
fn a_secret_can_come_as_a_descriptor_and_is_there_at_every_launch() {
    for options in [&[][..], &["--no-guardian"]] {
        let bed = Bed::new();
        let yaml = "version: 1\nworkers:\n  w:\n    \
            command: [sh, -c, 'test \"$(cat $KEY)\" = hush-4711 && echo MATCH; ls /proc/self/fd | \
            wc -w; exec sleep 1d']\n    \
                    secrets: { KEY: \"fd:7\" }\n    ready: { after: 0s }\n    \
                    restart: { policy: always, backoff: { initial: 0s } }\n";
        let file = bed.write("supervisord-rs.yaml", yaml);
        // A pipe: it can be read once.
        let mut shell = std::process::Command::new("sh");
        let inner = bed.command(&[]);
        let log = bed.path("supervisor.log");
        shell
            .args(["-c", "printf hush-4711 | exec \"$0\" \"$@\" 7<&0 </dev/null 2>\"$LOG\""])
            .arg(inner.get_program())
            .args(["run", "-c"])
            .arg(file)
            .args(options)
            .env("LOG", &log)
            .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let supervisor = bed.attach(shell);
        supervisor.wait_output("w", "MATCH\n5\n");
        supervisor.wait_phase("w", "running");
        crate::harness::kill(
            supervisor.worker("w").pid.expect("running"),
            nix::sys::signal::Signal::SIGKILL,
        );
        supervisor.wait_output("w", "MATCH\n5\nMATCH\n5\n");
        if options.is_empty() {
            // The next supervisor gets it from the guardian, for the next launch.
            let before = supervisor.status();
            crate::harness::kill(before.supervisor.pid, nix::sys::signal::Signal::SIGKILL);
            supervisor.wait_successor(before.supervisor.pid);
            assert_eq!(supervisor.worker("w").pid, crate::harness::find(&before, "w").pid);
            crate::harness::kill(
                supervisor.worker("w").pid.expect("running"),
                nix::sys::signal::Signal::SIGKILL,
            );
            supervisor.wait_output("w", "MATCH\n5\nMATCH\n5\nMATCH\n5\n");
            supervisor.wait_phase("w", "running");
        }
        assert!(!format!("{:?}{}", supervisor.status(), bed.log()).contains("hush-4711"));
        supervisor.stop();
    }
}

#[test]
fn a_missing_secret_is_reported_at_once() {
    let bed = Bed::new();
    let yaml = |number: &str| {
        format!(
            "version: 1\nworkers:\n  w: {{ command: [sleep, 1d], secrets: {{ KEY: \"fd:{number}\" \
                }} }}\n"
        )
    };
    for options in [&[][..], &["--no-guardian"]] {
        let mut supervisor = bed.launch(&yaml("42"), options);
        assert_eq!(supervisor.wait_exit().code(), Some(1));
        assert!(bed.log().contains("cannot read the secret on descriptor 42: "), "{}", bed.log());
    }
    for number in ["1", "64", "x"] {
        let mut supervisor = bed.launch(&yaml(number), &[]);
        assert_eq!(supervisor.wait_exit().code(), Some(78));
    }
    assert!(
        bed.log().contains(
            "workers.w.secrets.KEY: `fd:64` is not a descriptor that the supervisor inherits"
        ),
        "{}",
        bed.log()
    );
}

#[test]
fn nothing_leaks_into_a_worker() {
    let output = printed(
        "",
        "ls /proc/self/fd | tr '\\n' ' '; echo; readlink /proc/self/fd/0; grep -E 'SigBlk|SigIgn' \
            /proc/self/status; ps -o sid= -p $$ | tr -d ' ' | sed \"s/^$$\\$/leader/\"; echo \
            \"${NOTIFY_SOCKET-none} ${LISTEN_FDS-none}\"",
    );
    let lines: Vec<&str> = output.lines().collect();
    // 3 is the directory that ls itself reads.
    assert_eq!(lines[0].trim(), "0 1 2 3", "{output}");
    assert_eq!(lines[1], "/dev/null");
    assert_eq!(lines[2..4], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"], "{output}");
    assert_eq!(&lines[4..6], ["leader", "none none"], "{output}");
}

#[test]
fn signals_that_the_supervisor_ignores_are_not_ignored_by_workers() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [grep, SigIgn, /proc/self/status], restart: \
        never, ready: { after: 0s } }\n";
    let file = bed.write("c.yaml", yaml);
    // As with nohup: the parent of the supervisor ignores HUP and PIPE, and blocks USR1.
    let script =
        format!("trap '' HUP PIPE QUIT; exec \"$0\" run -c {} --no-guardian", file.display());
    let mut child = bed.command(&[]);
    let program = child.get_program().to_owned();
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &script])
        .arg(&program)
        .envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _ = &mut child;
    let mut running = shell
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("sh");
    bed.wait("output", || bed.output("w").contains("SigIgn").then_some(()));
    assert!(bed.output("w").contains("SigIgn:\t0000000000000000"), "{}", bed.output("w"));
    let _ = bed.verb(&["shutdown"]);
    running.wait().expect("our child");
}

#[test]
fn a_step_that_fails_is_named_with_what_to_do() {
    let (message, code) = failure("    command: [no-such-program]\n");
    assert!(
        message.contains("cannot execute no-such-program") && message.contains("install it"),
        "{message}"
    );
    assert_eq!(code, Some(127));
    let scripts = Bed::new();
    let script = scripts.write("script", "#!/no/such/interpreter\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("ours");
    let (message, code) = failure(&format!("    command: [{}]\n", script.display()));
    assert!(message.contains("it is there; the interpreter"), "{message}");
    assert_eq!(code, Some(127));
    scripts.write("script", "echo no interpreter named\n");
    let (message, code) = failure(&format!("    command: [{}]\n", script.display()));
    assert!(message.contains("nor a script with `#!`"), "{message}");
    assert_eq!(code, Some(126));
    let (message, code) = failure("    command: [/etc/passwd]\n");
    assert!(message.contains("not executable"), "{message}");
    assert_eq!(code, Some(126));
    for (keys, words) in [
        ("    command: [sleep, 1d]\n    env_file: nowhere.env\n", ["env_file", "nowhere.env"]),
        (
            "    command: [sleep, 1d]\n    secrets: { KEY: /nowhere/key }\n",
            ["the secret", "/nowhere/key"],
        ),
        (
            "    command: [sleep, 1d]\n    secrets: { KEY: /dev/zero }\n",
            ["the secret", "not a regular file"],
        ),
        ("    command: [sleep, 1d]\n    cwd: /nowhere\n", ["working directory", "create it"]),
        ("    command: [sleep, 1d]\n    cpus: [1023]\n", ["processors", "none of these"]),
        (
            "    command: [sleep, 1d]\n    limits: { open_files: 99999999999 }\n",
            ["resource limits", "above"],
        ),
    ] {
        let (message, code) = failure(keys);
        assert!(words.iter().all(|words| message.contains(words)), "{message}");
        assert_eq!(code, Some(126));
    }
}

#[test]
fn half_a_secret_fails_the_launch() {
    let bed = Bed::new();
    std::fs::write(bed.path("large"), vec![b'x'; 1024 * 1024 + 1]).expect("written");
    let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d], secrets: { KEY: large }, \
        restart: never }\n";
    let supervisor = bed.start(yaml);
    let message = supervisor.wait_phase("w", "finished").ending.and_then(|ending| ending.message);
    assert!(
        message.as_deref().is_some_and(|message| message.contains("1 MiB at most")),
        "{message:?}"
    );
    supervisor.stop();
}

#[test]
fn a_malformed_env_file_is_reported_with_its_line() {
    let bed = Bed::new();
    bed.write("bad.env", "A=1\nthis is none\n");
    let yaml =
        "version: 1\nworkers:\n  w: { command: [sleep, 1d], env_file: bad.env, restart: never }\n";
    let supervisor = bed.start(yaml);
    let ending = supervisor.wait_phase("w", "finished").ending.expect("an ending");
    let message = ending.message.expect("a message");
    assert!(message.contains("bad.env (line 2)") && message.contains("NAME=value"), "{message}");
    supervisor.stop();
    // A file in another encoding.
    std::fs::write(bed.path("bad.env"), b"A=1\nB=2\nNAME=M\xfcller\n").expect("written");
    let file = bed.path("supervisord-rs.yaml");
    let checked = bed.command(&["check", "--world"]).arg(&file).output().expect("it runs");
    let said = text(&checked.stderr);
    assert!(said.contains("bad.env`: line 3 is not UTF-8"), "{said}");
    let supervisor = bed.start(yaml);
    let ending = supervisor.wait_phase("w", "finished").ending.expect("an ending");
    let message = ending.message.expect("a message");
    let words = ["bad.env (line 3)", "the line is not UTF-8: save the file as UTF-8"];
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
    supervisor.stop();
}

#[test]
fn a_worker_can_have_its_own_group_in_the_supervisors_session() {
    let output = printed(
        "    session: false\n",
        "ps -o pgid= -p $$ | tr -d ' ' | sed \"s/^$$\\$/own group/\"; ps -o sid= -p $$ | tr -d ' \
            ' | sed \"s/^$$\\$/own session/\"",
    );
    assert!(output.starts_with("own group\n") && !output.contains("own session"), "{output}");
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_blocks_nothing() {
    let bed = Bed::new();
    nix::unistd::mkfifo(&bed.path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let supervisor = bed.start(
        "version: 1\ndefaults: { restart: never }\nworkers:\n  \
            env: { command: [sleep, 1d], env_file: pipe }\n  \
         secret: { command: [sleep, 1d], secrets: { KEY: pipe } }\n  good: { worker: ticker }\n",
    );
    for (name, words) in [("env", "cannot read its env_file"), ("secret", "cannot read the secret")]
    {
        let message =
            supervisor.wait_phase(name, "finished").ending.and_then(|ending| ending.message);
        let message = message.expect("a message");
        assert!(
            message.contains(words)
                && message.ends_with("pipe: Wrong medium type: it is not a regular file"),
            "{message}"
        );
    }
    supervisor.wait_phase("good", "running");
    supervisor.stop();
}

#[test]
fn groups_that_the_supervisor_may_not_set_are_refused() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    bed.give_to(4711);
    let supervisor = bed.start_under(
        &["setpriv", "--reuid=4711", "--regid=4711", "--groups=4712"],
        "version: 1\ndefaults: { restart: never, ready: { after: 0s } }\nworkers:\n  \
         other: { command: [sleep, 1d], groups: [adm] }\n  \
         fewer: { command: [sleep, 1d], groups: [] }\n  \
         ours: { command: [sleep, 1d], groups: [\"4712\"] }\n  \
         itself: { command: [sleep, 1d], user: \"4711\" }\n",
        &["--no-guardian"],
    );
    for name in ["other", "fewer"] {
        let message =
            supervisor.wait_phase(name, "finished").ending.and_then(|ending| ending.message);
        assert_eq!(
            message.as_deref(),
            Some(
                "cannot change its groups (setgroups, setgid): Operation not permitted: the \
                    supervisor must be root for that, or have the capability CAP_SETGID"
            )
        );
    }
    for name in ["ours", "itself"] {
        supervisor.wait_phase(name, "running");
    }
    supervisor.stop();
}

#[test]
fn root_without_a_capability_reads_which_one() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let supervisor = bed.start_under(
        &[
            "setpriv",
            "--bounding-set=-setuid,-setgid,-sys_resource",
            "--inh-caps=-setuid,-setgid,-sys_resource",
        ],
        "version: 1\ndefaults: { restart: never, ready: { after: 0s } }\nworkers:\n  \
         user: { command: [sleep, 1d], user: nobody }\n  \
         score: { command: [sleep, 1d], oom_score_adj: -500 }\n  \
         root: { command: [sleep, 1d], user: root }\n",
        &["--no-guardian"],
    );
    for (name, capability) in [("user", "CAP_SETGID"), ("score", "CAP_SYS_RESOURCE")] {
        let message =
            supervisor.wait_phase(name, "finished").ending.and_then(|ending| ending.message);
        let words = format!("the supervisor is root, but lacks the capability {capability}");
        assert!(message.as_ref().is_some_and(|message| message.ends_with(&words)), "{message:?}");
    }
    // The groups that the supervisor has already need no right.
    supervisor.wait_phase("root", "running");
    supervisor.stop();
}

#[test]
fn few_descriptors_are_enough() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sh, -c, 'ulimit -n; echo >&7; exec sleep \
        1d'], ready: { fd: 7 } }\n";
    let supervisor = bed.start_under(&["prlimit", "--nofile=64:64"], yaml, &["--no-guardian"]);
    supervisor.wait_phase("w", "running");
    supervisor.wait_output("w", "64\n");
    supervisor.stop();
}

/// Fewer numbers than the supervisor has open itself.
#[test]
fn a_weight_needs_no_descriptor_of_the_workers_own_limit() {
    let output = printed(
        "    oom_score_adj: 321\n    limits: { open_files: 8 }\n",
        "cat /proc/self/oom_score_adj; ulimit -n",
    );
    assert!(output.starts_with("321\n8\n"), "{output}");
}

/// Flags and locks are those of an open file (open(2), "open file descriptions").
#[test]
fn what_a_worker_does_to_its_empty_input_reaches_no_other() {
    let bed = Bed::new();
    let python = |what: &str| {
        format!(
            "[python3, -c, 'import fcntl, os, time; {what}; print(\"done\", flush=True); time.sleep(1e6)']"
        )
    };
    let spoil =
        python("fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK); fcntl.flock(0, fcntl.LOCK_EX)");
    let supervisor = bed.start(&format!(
        "version: 1\nworkers:\n  spoils: {{ command: {spoil}, ready: {{ after: 0s }} }}\n  \
            other: {{ command: [sleep, 1d], ready: {{ after: 0s }}, depends_on: [spoils] }}\n"
    ));
    supervisor.wait_output("spoils", "done\n");
    supervisor.wait_running();
    let flags = |worker: &str| {
        let pid = supervisor.worker(worker).pid.expect("running");
        let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/0")).expect("open");
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).expect("listed");
        i32::from_str_radix(flags.trim(), 8).expect("octal")
    };
    supervisor.wait_phase("other", "running");
    assert_ne!(flags("spoils") & libc::O_NONBLOCK, 0, "it has spoilt its own");
    assert_eq!(flags("other") & libc::O_NONBLOCK, 0, "and that of another");
    supervisor.stop();
}

/// sd_listen_fds(3) believes the first.
#[test]
fn a_worker_with_sockets_has_one_listen_pid() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\nworkers:\n  w: { command: [sh, -c, 'env | grep -c ^LISTEN_PID=; test \
            $LISTEN_PID = $$ && echo mine; exec sleep 1d'], env: { LISTEN_PID: '1' }, \
            sockets: ['unix:./w.socket'], ready: { after: 0s } }\n",
    );
    supervisor.wait_output("w", "1\nmine\n");
    supervisor.stop();
}

#[test]
fn workers_with_many_sockets_leave_room_for_clients() {
    let bed = Bed::new();
    let mut yaml = "version: 1\nworkers:\n".to_owned();
    for worker in 0..8 {
        let sockets = (0..8).map(|number| format!("'unix:./w{worker}.{number}'"));
        let sockets = sockets.collect::<Vec<_>>().join(", ");
        yaml.push_str(&format!(
            "  w{worker}: {{ command: [sleep, 1d], ready: {{ after: 0s }}, \
             restart: {{ backoff: {{ initial: 10ms, max: 10ms }} }}, sockets: [{sockets}] }}\n"
        ));
    }
    let supervisor = bed.start_under(&["prlimit", "--nofile=128:128"], &yaml, &["--no-guardian"]);
    let status = supervisor.wait("some to run, and the others to be refused", |supervisor| {
        let status = supervisor.client.status().ok()?;
        let is_settled = |worker: &supervisord_rs::control::protocol::WorkerStatus| {
            // After several attempts.
            worker.phase == "running" || worker.generation > 5
        };
        status.workers.iter().all(is_settled).then_some(status)
    });
    let running = status.workers.iter().filter(|worker| worker.phase == "running").count();
    assert!((1..8).contains(&running), "{running} of 8 fit");
    supervisor.stop();
}

#[test]
fn a_worker_with_a_user_of_its_own_opens_its_output_by_name() {
    if crate::harness::skip::lacks_root() {
        return;
    }
    let output = printed(
        "    user: nobody\n    cwd: /\n",
        "echo by name > /dev/stdout; (echo loud > /dev/stderr) || echo DENIED",
    );
    assert!(output.contains("by name\n") && output.contains("loud\n"), "{output}");
}

#[test]
fn the_supervisor_dumps_core_after_it_has_launched_another_user() {
    use std::os::unix::process::ExitStatusExt;
    if crate::harness::skip::lacks_root() {
        return;
    }
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  w: { command: [sleep, 1d], user: nobody, cwd: /, ready: { \
        after: 0s } }\n";
    let mut supervisor =
        bed.start_under(&["prlimit", "--core=unlimited:unlimited"], yaml, &["--no-guardian"]);
    supervisor.wait_phase("w", "running");
    crate::harness::kill(supervisor.status().supervisor.pid, nix::sys::signal::Signal::SIGABRT);
    let status = supervisor.wait_exit();
    assert_eq!(status.signal(), Some(6));
    assert!(status.core_dumped(), "{status:?}");

    // One that the guardian has started keeps the limit too.
    let bed = Bed::new();
    let supervisor = bed.start_under(&["prlimit", "--core=unlimited:unlimited"], yaml, &[]);
    // While a child changes its user in the supervisor's memory, that is not dumped.
    supervisor.wait_phase("w", "running");
    let pid = supervisor.status().supervisor.pid;
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    assert!(core.is_some_and(|line| line.matches("unlimited").count() == 2), "{core:?}");
    // It is dumped where the kernel's pattern names a file in the working directory.
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("/proc");
    crate::harness::kill(pid, nix::sys::signal::Signal::SIGABRT);
    supervisor.wait_successor(pid);
    if !pattern.starts_with('|') && !pattern.contains('/') {
        let names = std::fs::read_dir(bed.directory.path()).expect("ours").flatten();
        let mut names = names.map(|entry| entry.file_name().into_encoded_bytes());
        assert!(names.any(|name| name.starts_with(b"core")), "{pattern}: {}", bed.log());
    }
    supervisor.stop();
}

#[test]
fn a_hook_with_a_truncated_binary_is_reported_in_words() {
    let bed = Bed::new();
    let whole = std::fs::read("/bin/sh").expect("a binary");
    std::fs::write(bed.path("half"), &whole[..whole.len() / 2]).expect("written");
    std::fs::set_permissions(bed.path("half"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("ours");
    let yaml = format!(
        "version: 1\nhooks: [ {{ on: running, command: [{}] }} ]\nworkers:\n  \
            w: {{ command: [sleep, 1d], ready: {{ after: 0s }} }}\n",
        bed.path("half").display()
    );
    let supervisor = bed.start(&yaml);
    let log = bed.wait_log("a hook failed");
    assert!(
        log.contains("a hook failed: it ended with SIG")
            || log.contains("a hook failed: cannot execute"),
        "{log}"
    );
    supervisor.stop();
}

#[test]
fn a_worker_with_a_truncated_binary_is_reported_in_words() {
    let bed = Bed::new();
    let whole = std::fs::read("/bin/sh").expect("a binary");
    // In the middle, in the first header, and nothing at all.
    let lengths = [("half", whole.len() / 2), ("head", 40), ("empty", 0)];
    let mut yaml =
        "version: 1\ndefaults: { restart: never, ready: { after: 1h } }\nworkers:\n".to_owned();
    for (name, length) in lengths {
        std::fs::write(bed.path(name), &whole[..length]).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bed.path(name), mode).expect("ours");
        yaml.push_str(&format!("  {name}: {{ command: [{}] }}\n", bed.path(name).display()));
    }
    let supervisor = bed.start(&yaml);
    for (name, _) in lengths {
        let ending = supervisor.wait_phase(name, "finished").ending.expect("an ending");
        let status = text(&bed.verb(&["status", name]).stdout);
        println!("{name}: {ending:?}\n{status}");
        match ending.message {
            Some(message) => assert!(message.starts_with("cannot execute"), "{name}: {message}"),
            // The kernel began to load it, and then killed it.
            None => assert!(status.contains("SIG"), "{name}: {status}"),
        }
        assert!(!status.contains("Signaled"), "{name}: {status}");
    }
    supervisor.stop();
}

#[test]
fn start_before_runs_before_each_start_as_its_worker_would() {
    let bed = Bed::new();
    let user = if is_root() { "    user: nobody\n" } else { "" };
    let own = if is_root() { "nobody" } else { "" };
    // A command that ends is started again: its preparation runs again too, and to its end.
    let yaml = format!(
        "version: 1\nworkers:\n  w:\n    command: [sh, -c, 'echo main $GREETING; exit 1']\n    \
         start_before: [sh, -c, 'echo before $GREETING $(pwd) $(id -un) $(ulimit -n); sleep 0.1; \
         echo prepared']\n    \
         env: {{ GREETING: hello }}\n    cwd: /usr\n    limits: {{ open_files: 512 }}\n{user}    \
         restart: {{ limit: {{ restarts: 2, within: 60s }}, backoff: {{ initial: 0s }} }}\n"
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_phase("w", "quarantined");
    let output = supervisor.wait("three lines of each launch", |_| {
        Some(bed.output("w")).filter(|output| output.lines().count() >= 9)
    });
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 9, "three launches: {output}");
    for launch in lines.chunks(3) {
        assert!(launch[0].starts_with("before hello /usr "), "{output}");
        assert!(launch[0].contains(own) && launch[0].ends_with(" 512"), "{output}");
        assert_eq!(&launch[1..], ["prepared", "main hello"], "{output}");
    }
    supervisor.stop();
}

#[test]
fn a_start_before_that_fails_is_a_failed_launch_with_its_exit_code() {
    let main = "    command: [sh, -c, 'touch started; exec sleep 1d']\n";
    for (before, words, code) in [
        ("[sh, -c, 'exit 3']", "`sh` ended with exit status 3", 3),
        ("[sh, -c, 'kill -9 $$']", "`sh` ended with SIGKILL", 137),
        ("[/no/such/program]", "cannot execute /no/such/program", 127),
    ] {
        let (message, exit_code) = failure(&format!("{main}    start_before: {before}\n"));
        assert!(message.contains("`start_before:`") && message.contains(words), "{message}");
        assert_eq!(exit_code, Some(code), "{message}");
    }
}

#[test]
fn a_start_before_that_hangs_has_its_workers_time_to_start_and_is_killed() {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  good: { worker: ticker }\n  w:\n    \
        command: [touch, started]\n    restart: never\n    \
                start_before: [sh, -c, 'echo $$ >pid; echo hanging; sleep 1d']\n    \
                ready: { fd: 3, timeout: 3s }\n";
    let supervisor = bed.start(&format!("{yaml}    cwd: {}\n", bed.path("").display()));
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.ending.stage.as_deref(), Some("start-before"), "{incident:?}");
    assert_eq!(incident.ending.exit_code, Some(137), "{incident:?}");
    assert!(
        incident.sentence.contains("its time is `ready: { timeout: }`"),
        "{}",
        incident.sentence
    );
    assert_eq!(incident.last_output, ["hanging"]);
    let pid = std::fs::read_to_string(bed.path("pid")).expect("its number").trim().to_owned();
    supervisor.wait("the command to be gone", |_| {
        (!crate::harness::is_alive(pid.parse().expect("a number"))).then_some(())
    });
    assert!(!bed.path("started").exists(), "the worker was started all the same");
    supervisor.wait_phase("good", "running");
    supervisor.stop();
}

/// In a session of its own, and deaf to everything that can be ignored.
const LEFT_BEHIND: &str = "setsid sh -c 'trap : TERM HUP INT; echo $$ >left; while :; do sleep 1; \
    done' </dev/null >/dev/null 2>&1 & until [ -s left ]; do sleep 0.01; done";

#[test]
fn what_a_start_before_leaves_behind_is_gone_before_its_worker_starts() {
    for cgroups in ["on", "off"] {
        let bed = Bed::new();
        let quoted = |text: &str| serde_json::to_string(text).expect("a string");
        let look = "echo state:$(sed -n 's/^State:.\\(.\\).*/\\1/p' /proc/$(cat left)/status \
            2>/dev/null); exec sleep 1d";
        let failing = format!("{LEFT_BEHIND}; exit 3");
        let hanging = format!("{LEFT_BEHIND}; echo begun; sleep 1d");
        let place = |name: &str| bed.path(name).display().to_string();
        for name in ["well", "fails", "hangs"] {
            std::fs::create_dir(bed.path(name)).expect("made");
        }
        let yaml = format!(
            "version: 1\ndefaults: {{ restart: never }}\nworkers:\n  \
             well: {{ command: [sh, -c, {}], start_before: [sh, -c, {}], cwd: {} }}\n  \
             fails: {{ command: [sleep, 1d], start_before: [sh, -c, {}], cwd: {} }}\n  \
             hangs: {{ command: [sleep, 1d], start_before: [sh, -c, {}], cwd: {}, stop: {{ \
             timeout: 200ms }} }}\n",
            quoted(look),
            quoted(LEFT_BEHIND),
            place("well"),
            quoted(&failing),
            place("fails"),
            quoted(&hanging),
            place("hangs"),
        );
        let supervisor = bed.start_in(&yaml, &[], &[("SUPERVISORD_RS_CGROUPS", cgroups)]);
        let output = supervisor.wait_output("well", "state:");
        let state = output.trim().trim_start_matches("state:");
        // One that is dead may wait to be reaped.
        assert!(["", "Z", "X"].contains(&state), "cgroups {cgroups}: {output}");
        let gone = |name: &str| {
            let left = std::fs::read_to_string(bed.path(name).join("left")).expect("its number");
            let left: i32 = left.trim().parse().expect("a number");
            !crate::harness::is_alive(left)
        };
        let incident = supervisor.wait_incident(0);
        assert_eq!(incident.worker.as_deref(), Some("fails"), "{incident:?}");
        assert!(gone("fails"), "cgroups {cgroups}: alive after the launch has failed");
        supervisor.wait_output("hangs", "begun");
        supervisor.client.stop(&["hangs".into()], true).expect("stopped");
        supervisor.wait("nothing of it", |_| gone("hangs").then_some(()));
        // The next start waits for that, and finds a clean house.
        supervisor.client.start(&["hangs".into()], false).expect("ordered");
        supervisor.wait("another one", |_| {
            (bed.output("hangs").matches("begun").count() == 2).then_some(())
        });
        supervisor.stop();
    }
}

#[test]
fn an_order_to_stop_ends_a_start_before_and_starts_nothing() {
    let bed = Bed::new();
    let yaml = format!(
        "version: 1\nworkers:\n  w: {{ command: [touch, started], cwd: {place}, stop: {{ timeout: \
            1s }}, \
         start_before: [sh, -c, \"trap '' TERM; echo begun; while :; do sleep 1d; done\"] }}\n  \
         gate: {{ command: [touch, started], cwd: {place}, stop: {{ timeout: 1h }}, \
         start_before: [sh, -c, \"trap '' TERM; echo begun; until [ -e go ]; do sleep 0.01; \
         done\"] }}\n",
        place = bed.path("").display()
    );
    let supervisor = bed.start(&yaml);
    supervisor.wait_output("w", "begun");
    let output = bed.verb(&["stop", "w"]);
    assert!(output.status.success(), "{output:?}");
    // It did not end in its time to stop.
    let said = text(&output.stdout);
    assert!(said.contains("killed, because they did not stop in time: w"), "{said}");
    let incident = supervisor.wait_incident(0);
    assert_eq!(incident.ending.stage.as_deref(), Some("start-before"), "{incident:?}");
    assert!(!bed.path("started").exists(), "the worker was started all the same");
    // Nor is one whose command ends well after the order.
    supervisor.wait_output("gate", "begun");
    supervisor.client.stop(&["gate".into()], false).expect("ordered");
    bed.write("go", "");
    supervisor.wait_phase("gate", "idle");
    assert!(!bed.path("started").exists(), "the worker was started all the same");
    assert_eq!(supervisor.incidents().len(), 1, "{:?}", supervisor.incidents());
    // It can be started again, and everything ends while it runs.
    supervisor.client.start(&["w".into()], false).expect("ordered");
    supervisor
        .wait("another one", |_| (bed.output("w").matches("begun").count() == 2).then_some(()));
    supervisor.stop();
}

#[test]
fn a_start_before_gets_the_stop_signal_and_its_last_lines_are_in_the_answer() {
    let bed = Bed::new();
    let supervisor = bed.start(
        "version: 1\nworkers:\n  polite: { command: [sleep, 1d], stop: { timeout: 1h }, \
         start_before: [sh, -c, \"trap 'echo heard; exit 3' TERM; echo begun; while :; do sleep \
         0.05; done\"] }\n  \
         fails: { command: [sleep, 1d], autostart: false, restart: never, \
         start_before: [sh, -c, 'echo no room; exit 4'] }\n",
    );
    supervisor.wait_output("polite", "begun");
    let output = bed.verb(&["stop", "polite"]);
    assert_eq!(text(&output.stdout).trim(), "stop polite: done", "{output:?}");
    supervisor.wait_output("polite", "heard");
    assert!(supervisor.incidents().is_empty(), "{:?}", supervisor.incidents());
    let output = bed.verb(&["start", "fails"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("its last lines say why") && said.contains("    | no room"), "{said}");
    let output = bed.verb(&["start", "fails", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["outcomes"][0]["last_output"][0], "no room", "{answer:#}");
    supervisor.stop();
}

/// A thread that launches and the loop that reaps orphans meet at each of these.
#[test]
fn no_status_of_a_start_before_is_lost_to_the_reaper_of_orphans() {
    let bed = Bed::new();
    let mut yaml = "version: 1\ndefaults: { start_before: [sh, -c, '(exit 0) & exit 0'], ready: { \
        after: 0s }, \
                    restart: { policy: always, limit: { restarts: 1000, within: 1s }, backoff: { \
                    initial: 0s } } }\nworkers:\n"
        .to_owned();
    for number in 0..12 {
        yaml.push_str(&format!("  w{number}: {{ command: [sleep, '0.01'] }}\n"));
    }
    let supervisor = bed.start(&yaml);
    supervisor.wait("ten launches of each", |supervisor| {
        let status = supervisor.client.status().ok()?;
        status.workers.iter().all(|worker| worker.generation >= 10).then_some(())
    });
    let failed: Vec<String> =
        supervisor.incidents().into_iter().map(|incident| incident.sentence).collect();
    assert_eq!(failed, Vec::<String>::new());
    supervisor.stop();
}

/// Hundreds wait in line behind each other: none of them is started only to be stopped.
#[test]
fn launches_that_wait_in_line_are_dropped_when_everything_ends() {
    // On a busy machine the order may come when most have been started.
    let is_seen = (0..10).any(|_| some_of_many_launches_are_dropped());
    assert!(is_seen, "the end came too late each time");
}

/// False: the order came too late to see anything.
fn some_of_many_launches_are_dropped() -> bool {
    let bed = Bed::new();
    let yaml = "version: 1\nworkers:\n  \
        w: { command: [sleep, 1d], ready: { after: 0s }, instances: 500 }\n";
    let mut supervisor = bed.launch(yaml, &[]);
    let started = |log: &str| log.matches("is starting").count();
    supervisor.wait("a first worker", |_| (started(&bed.log()) > 0).then_some(()));
    let guardian = supervisor.child_pid();
    kill(guardian, nix::sys::signal::Signal::SIGTERM);
    let status = supervisor.wait_exit();
    assert_eq!(status.code(), Some(0), "{}", bed.log());
    let log = bed.log();
    let (before, after) = log.split_once("shutting down").expect("an end");
    let (before, after) = (started(before), started(after));
    if before >= 300 {
        return false;
    }
    // Those that ran already when the order came may be heard of after it.
    assert!(after < (500 - before) / 2, "{after} were started after the end, {before} before");
    assert_eq!(supervisor.bed.log().matches("incident").count(), 0, "{log}");
    true
}
