//! `on_owner_death:` holds for all users: also for those whom no briefing tells, the command line
//! and programs in C.

use std::process::Stdio;

use crate::harness::{Bed, repository, text};
use crate::{Test, command, start};

/// For `main`.
pub(super) const TESTS: &[Test] = &[(
    "on_owner_death_holds_for_the_command_line_and_for_c",
    on_owner_death_holds_for_the_command_line_and_for_c,
)];

/// Says when it is there, and what it gets once a file is there.
const LOCKER: &str = r#"
    #include <supervisord_rs.h>
    #include <stdio.h>
    #include <unistd.h>
    int main(int count, char **arguments) {
        struct srs_memory door;
        if (count < 2 || srs_open("door", SRS_MUTEX, &door)) return 1;
        puts("there");
        fflush(stdout);
        while (access(arguments[1], F_OK)) usleep(1000);
        printf("got %d\n", (int)srs_lock(&door));
        fflush(stdout);
        pause();
        return 0;
    }
"#;

fn on_owner_death_holds_for_the_command_line_and_for_c() {
    let bed = Bed::new();
    let (source, program) = (bed.write("locker.c", LOCKER), bed.path("locker"));
    let compiled = std::process::Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-I"])
        .args([repository("workers/include"), source, "-o".into(), program.clone()])
        .output()
        .expect("a compiler, as Rust itself needs one to link");
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    // What a shell gets, and what C gets.
    let answers = [
        ("repair", "torn=whole\n", "got 1"),
        ("poison", "", "got 2"),
        ("continue", "torn=\n", "got 0"),
        ("restart-users", "", "got -1"),
    ];
    for (policy, shell, c) in answers {
        for is_shell in [true, false] {
            let bed = Bed::new();
            let go = bed.path("go");
            let supervisor = start(
                &bed,
                &format!(
                    "version: 1\nresources: {{ door: {{ kind: mutex, on_owner_death: {policy} }} \
                     }}\nworkers: {{ c: {{ command: ['{}', '{}'], uses: [door], ready: {{ log: \
                     there }} }} }}\n",
                    program.display(),
                    go.display()
                ),
            );
            supervisor.wait_running();
            let mut owner = command(&bed, &["resource", "acquire", "door", "--", "cat"]);
            let mut owner = owner.stdin(Stdio::piped()).spawn().expect("it runs");
            supervisor.wait("it to have the door", |supervisor| {
                let all = supervisor.status().resources;
                (all.iter().any(|one| one.holders.len() == 1)).then_some(())
            });
            owner.kill().expect("our child");
            owner.wait().expect("our child");
            if is_shell {
                let shown = "echo torn=$SUPERVISORD_RS_OWNER_DIED";
                let next = ["resource", "acquire", "door", "--", "sh", "-c", shown];
                let output = command(&bed, &next).output().expect("it runs");
                assert_eq!(text(&output.stdout), shell, "{policy}: {}", text(&output.stderr));
            } else {
                std::fs::write(&go, "").expect("written");
                supervisor.wait_output("c", c);
            }
            supervisor.stop();
        }
    }
}
