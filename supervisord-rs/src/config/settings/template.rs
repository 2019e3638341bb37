//! What is kept of an entry with `instances:`, for more of them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::node::Node;
use crate::config::settings::ResourcesByName;

/// How to make one more instance of a worker: its entry, with the defaults under it.
#[derive(Clone, Debug)]
pub struct Template {
    pub(in crate::config) base: String,
    pub(in crate::config) node: Node,
    pub(in crate::config) file: PathBuf,
    pub(in crate::config) log_dir: PathBuf,
    pub(in crate::config) fault_injection: bool,
    pub(in crate::config) resources: Arc<ResourcesByName>,
}
