//! A look at the process table, independent of the supervisor.

use std::collections::BTreeMap;
use std::path::Path;

/// Main processes of commands by the name of their worker: leaders of sessions that bear it in
/// their environment.
pub fn incarnations(bed: &Path) -> BTreeMap<String, Vec<String>> {
    let mark = bed.as_os_str().as_encoded_bytes();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if !environment.windows(mark.len()).any(|window| window == mark) {
            continue;
        }
        let mut variables = environment.split(|&byte| byte == 0);
        let name =
            variables.find_map(|variable| variable.strip_prefix(b"SUPERVISOR_PROCESS_NAME="));
        let stat = std::fs::read(entry.path().join("stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let is_dead = fields.first().is_none_or(|state| ["Z", "X"].contains(state));
        let leads = fields.get(3).is_some_and(|session| *session == pid.to_string());
        // A process that a worker has put into another session is a child of a process with the
        // worker's name.
        let is_main = leads && !stat.contains("(setsid)") && !has_same_parent(&fields, name);
        if let (Some(name), false, true) = (name, is_dead, is_main) {
            found
                .entry(String::from_utf8_lossy(name).into_owned())
                .or_default()
                .push(stat.trim().to_owned());
        }
    }
    found
}

fn has_same_parent(fields: &[&str], name: Option<&[u8]>) -> bool {
    let Some(parent) = fields.get(1) else { return false };
    let environment = std::fs::read(format!("/proc/{parent}/environ")).unwrap_or_default();
    let mut variables = environment.split(|&byte| byte == 0);
    name.is_some()
        && variables.find_map(|variable| variable.strip_prefix(b"SUPERVISOR_PROCESS_NAME=")) == name
}
