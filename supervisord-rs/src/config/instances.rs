//! `instances:`: one entry of the file, several workers; and one more of them while the supervisor
//! runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use supervision::WorkerId;
use supervision::spec::WorkerSpec;
use workers::Registry;

use super::code::Code;
use super::logs;
use super::node::Node;
use super::pattern::Patterns;
use super::problems::{Problems, World};
use super::reader::Cursor;
use super::settings::{Launch, Template};
use super::worker::{self, Context, Identity};

/// Most instances of one worker.
pub const INSTANCES_MAX: u32 = worker::INSTANCES_MAX;

impl Template {
    pub(super) fn new(base: &str, node: Node, context: Context<'_>) -> Self {
        Self {
            base: base.to_owned(),
            node,
            file: context.file.to_owned(),
            log_dir: context.log_dir.to_owned(),
            fault_injection: context.fault_injection,
            resources: Arc::clone(context.resources),
        }
    }

    /// Instance number `index`. `names` are those of all workers. The domain of the result is not
    /// chosen yet.
    ///
    /// # Errors
    /// What is wrong with it, such as an address that its number makes invalid.
    pub fn instantiate(
        &self,
        index: u32,
        registry: &Registry,
        names: &BTreeMap<String, Vec<WorkerId>>,
    ) -> Result<(WorkerSpec, Launch), String> {
        let problems = Problems::new(&self.file, World::Ignored);
        let context = Context {
            file: &self.file,
            // On the loop.
            code: &Code::believed(registry),
            log_dir: &self.log_dir,
            fault_injection: self.fault_injection,
            patterns: &Patterns::default(),
            names,
            resources: &self.resources,
        };
        let read = read(&self.base, index, &self.node, context, &problems);
        let problems = problems.take();
        match read {
            Some(read) if problems.count == 0 => Ok(read),
            _ => Err(problems
                .kept
                .into_iter()
                .map(|problem| problem.message)
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }
}

/// The name of an instance.
#[must_use]
pub fn name(base: &str, index: u32) -> String {
    format!("{base}.{index}")
}

/// The entry and the number that a name of an instance consists of.
pub(super) fn parts(name: &str) -> Option<(&str, u32)> {
    let (base, number) = name.rsplit_once('.')?;
    let index = number.parse().ok().filter(|index| (1..=INSTANCES_MAX).contains(index))?;
    (index.to_string() == number).then_some((base, index))
}

/// Reads instance number `index` of an entry: `${instance}` and `${name}` in its texts become its
/// number and its name.
pub(super) fn read(
    base: &str,
    index: u32,
    node: &Node,
    context: Context<'_>,
    problems: &Problems,
) -> Option<(WorkerSpec, Launch)> {
    let name = name(base, index);
    let number = index.to_string();
    let is_log_shared = logs::is_shared_by_instances(node);
    let node = node
        .clone()
        .map_texts(&|text| text.replace("${instance}", &number).replace("${name}", &name));
    let cursor = Cursor { node: &node, path: format!("workers.{base}"), problems };
    let identity = Identity { name, base: base.to_owned(), instance: Some(index) };
    let (spec, mut launch) = worker::read(&cursor, identity, context)?;
    launch.logs.line.whole |= is_log_shared;
    Some((spec, launch))
}
