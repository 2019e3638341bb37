//! What an editor makes of the schema: the language server that editors use for YAML completes,
//! explains and marks by it.

mod language_server;

use std::path::PathBuf;

use language_server::LanguageServer;
use supervisord_rs::config::schema::{Found, find};
use supervisord_rs::config::{configuration_keys, scenario_keys};

use crate::harness::skip::{Lack, skip};
use crate::harness::{Bed, repository};

/// The releases that `tests/editors/install` installs.
const RELEASES: [&str; 2] = ["1.19.2", "2.0.0"];

/// A server of each release.
fn servers() -> Vec<LanguageServer> {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| repository("target"), PathBuf::from);
    let started = RELEASES.iter().filter_map(|release| {
        let installed = target.join("editors").join(release);
        if !installed.join("installed").exists() {
            skip(Lack::Editor, "no language server: tests/editors/install installs it");
            return None;
        }
        Some(LanguageServer::start(&installed))
    });
    started.collect()
}

/// A text below the comment that tells the server where its schema is, in line 0.
fn with_schema(schema: &str, text: &str) -> String {
    let schema = repository("config").join(schema);
    format!("# yaml-language-server: $schema=file://{}\n{text}", schema.display())
}

fn about(path: &str) -> &'static str {
    let found = find(configuration_keys(), path).expect("a key");
    let [Found { key, .. }] = found.as_slice() else { panic!("one key") };
    key.about
}

#[test]
fn an_editor_completes_the_keys_of_a_worker_and_shows_what_they_mean() {
    let text = "version: 1\nworkers:\n  api:\n    command: [sleep, 1d]\n    \n    critical: true\n";
    let text = with_schema("schema.json", text);
    for mut server in servers() {
        server.open("/complete.yaml", &text);
        let labels = server.completion("/complete.yaml", 5, 4);
        for key in ["restart", "depends_on", "heartbeat", "isolation", "limits"] {
            assert!(labels.iter().any(|label| label == key), "{key} is not in {labels:?}");
        }
        assert!(!labels.iter().any(|label| label == "critical"), "it is there: {labels:?}");
        let shown = server.hover("/complete.yaml", 6, 6);
        let first = about("workers.critical").split(';').next().expect("a text");
        assert!(plain(&shown).contains(&plain(first)), "{shown}");
        server.end();
    }
}

/// A server shows a text as Markdown, with signs of it escaped and spaces its own.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).collect()
}

#[test]
fn an_editor_marks_a_misspelt_key_and_a_wrong_value_at_their_places() {
    let text = "version: 1\nworkers:\n  api:\n    command: [sleep, 1d]\n    restat: always\n    \
                critical: perhaps\n    stop: { timeout: 10 }\n";
    let text = with_schema("schema.json", text);
    for mut server in servers() {
        let marks = server.open("/wrong.yaml", &text);
        let lines: Vec<u64> = marks.iter().map(|(line, _)| *line).collect();
        for line in [5, 6, 7] {
            assert!(lines.contains(&line), "line {line} is not marked: {marks:?}");
        }
        assert!(marks.iter().any(|(_, message)| message.contains("restat")), "{marks:?}");
        assert!(lines.iter().all(|line| [5, 6, 7].contains(line)), "{marks:?}");
        server.end();
    }
}

#[test]
fn an_editor_marks_nothing_in_the_files_of_the_repository() {
    let mut servers = servers();
    let mut count = 0;
    for folder in ["config", "config/real", "config/scenarios"] {
        for entry in std::fs::read_dir(repository(folder)).expect(folder).flatten() {
            let file = entry.path();
            if file.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("UTF-8");
            let name = entry.file_name().into_string().expect("UTF-8");
            // What stands beside the scenarios and has no `scenario:` is a configuration.
            let is_scenario = text.contains("\nscenario:");
            let schema = if is_scenario { "scenario.schema.json" } else { "schema.json" };
            let text = with_schema(schema, &text);
            for server in &mut servers {
                let marks = server.open(&format!("/{count}-{name}"), &text);
                assert!(marks.is_empty(), "{}: {marks:?}", file.display());
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
    servers.into_iter().for_each(LanguageServer::end);
}

/// `explain` says what the table says, of a configuration and of a scenario.
#[test]
fn explain_shows_a_key_and_what_is_below_it() {
    let bed = Bed::new();
    let explain = |arguments: &[&str]| {
        let output = bed.command(&["explain"]).args(arguments).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, shown, _) = explain(&["workers.api.restart.backoff"]);
    assert_eq!(status, Some(0));
    assert!(shown.starts_with("workers.NAME.restart.backoff\n"), "{shown}");
    assert!(shown.contains("  default   { initial: 100ms, factor: 2, max: 30s, jitter: 0.1 }\n"));
    for key in ["initial", "factor", "max", "jitter"] {
        assert!(shown.contains(&format!("\n  {key}")), "{shown}");
    }
    let (status, _, said) = explain(&["workers.restart.backof"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("no key `backof` in `workers.NAME.restart`"), "{said}");
    assert!(said.contains("did you mean `backoff`?"), "{said}");
    let (status, shown, _) = explain(&["--scenario", "expect", "--json"]);
    assert_eq!(status, Some(0));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let keys = shown[0]["keys"].as_array().expect("a list");
    let known = find(scenario_keys(), "steps.expect").expect("a key");
    assert_eq!(keys.len(), known[0].key.kind.tables()[0].keys().count());
}
