//! A valid random configuration: two independent territories, one for each client, and bystanders,
//! which nothing affects.

use std::fmt::Write as _;

use super::Random;

/// Workers that no order, no kill, no group and no dependency concerns.
pub const BYSTANDERS: [&str; 4] = ["bystander-a", "bystander-b", "bystander-sdk", "bystander-cell"];

/// The facts about a worker that predict its behaviour.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub depends_on: Vec<usize>,
    pub is_never: bool,
    /// Earlier members of its group, where these are restarted together: it starts after them.
    pub after: Vec<usize>,
}

/// The workers of one client. The first of its instances is scaled; they are not among the plans.
#[derive(Clone, Debug, Default)]
pub struct Territory {
    pub plans: Vec<Plan>,
    pub scaled: String,
}

/// The text, and what it means.
pub struct Configuration {
    pub yaml: String,
    pub territories: [Territory; 2],
}

const RESTART: &str = "backoff: { initial: 10ms, max: 200ms, jitter: 0.1 }, limit: { restarts: \
    1000000, within: 60s }";

pub fn random(random: &mut Random) -> Configuration {
    let mut yaml = "version: 1\nsupervisor: { fault_injection: allow, shutdown_timeout: 20s }\n\
         defaults: { ready: { after: 0s }, stop: { timeout: 1s } }\nworkers:\n"
        .to_owned();
    for name in &BYSTANDERS[..2] {
        let _ = writeln!(yaml, "  {name}: {{ command: [sleep, 1d] }}");
    }
    yaml.push_str("  bystander-sdk: { worker: ticker, isolation: process }\n");
    yaml.push_str("  bystander-cell: { worker: ticker, isolation: thread, cell: quiet }\n");
    let mut groups = String::new();
    let territories = [0, 1].map(|number| territory(random, number, &mut yaml, &mut groups));
    if !groups.is_empty() {
        let _ = write!(yaml, "groups:\n{groups}");
    }
    Configuration { yaml, territories }
}

fn territory(
    random: &mut Random,
    number: usize,
    yaml: &mut String,
    groups: &mut String,
) -> Territory {
    let prefix = ["left", "right"][number];
    let mut territory = Territory { scaled: format!("{prefix}-many"), ..Territory::default() };
    for position in 0..3 + random.below(4) {
        let name = format!("{prefix}-{position}");
        let (what, is_thread) = match random.below(8) {
            0 => ("worker: ticker, isolation: process".to_owned(), false),
            1 => (format!("worker: ticker, isolation: thread, cell: {prefix}"), true),
            2 if number == 0 => ("worker: ticker, isolation: thread".to_owned(), true),
            3 => (
                "command: [sh, -c, 'trap \"\" TERM; while :; do sleep 0.1; done']".to_owned(),
                false,
            ),
            4 => ("command: [sh, -c, 'setsid sleep 1d & sleep 1d & wait']".to_owned(), false),
            _ => ("command: [sleep, 1d]".to_owned(), false),
        };
        let is_never = !is_thread && random.chance(15);
        let policy = if is_never { "never" } else { random.pick(&["always", "on-failure"]) };
        let mut depends_on: Vec<usize> = Vec::new();
        if position > 0 && random.chance(35) {
            depends_on.push(random.below(position));
        }
        let needs: Vec<String> = depends_on.iter().map(|on| format!("{prefix}-{on}")).collect();
        let _ = writeln!(
            yaml,
            "  {name}: {{ {what}, restart: {{ policy: {policy}, {RESTART} }}, depends_on: [{}] }}",
            needs.join(", ")
        );
        territory.plans.push(Plan { name, depends_on, is_never, after: Vec::new() });
    }
    let _ = writeln!(
        yaml,
        "  {}: {{ instances: 2, command: [sleep, 1d], restart: {{ policy: always, {RESTART} }} }}",
        territory.scaled
    );
    if random.chance(60) {
        let strategy = random.pick(&["one-for-one", "one-for-all", "rest-for-one"]);
        let members: Vec<usize> =
            (0..territory.plans.len()).filter(|_| random.chance(60)).collect();
        if strategy != "one-for-one" {
            for (position, &member) in members.iter().enumerate() {
                territory.plans[member].after = members[..position].to_vec();
            }
        }
        let names: Vec<&str> =
            members.iter().map(|member| territory.plans[*member].name.as_str()).collect();
        if !names.is_empty() {
            let _ = writeln!(
                groups,
                "  {prefix}: {{ strategy: {strategy}, workers: [{}] }}",
                names.join(", ")
            );
        }
    }
    territory
}
