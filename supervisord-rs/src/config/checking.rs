//! From a text to settings, or to all that is wrong with it.

use workers::Registry;

use super::code::Code;
use super::diagnostics::Diagnostics;
use super::node::Node;
use super::problems::{Problems, World};
use super::settings::Settings;
use super::source::Source;
use super::{Scale, assemble, remainder};

impl Source {
    /// Checks it. `scale`: how many instances there are to be at least, whatever it says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn settings(&self, registry: &Registry, scale: &Scale) -> Result<Settings, Diagnostics> {
        self.checked(registry, scale, World::Ignored).map(|(settings, _)| settings)
    }

    /// The same without making its workers, which may take time, and may not work just now: for who
    /// launches none of them.
    ///
    /// # Errors
    /// All that is wrong with it but the arguments of workers.
    pub fn believed(&self, registry: &Registry) -> Result<Settings, Diagnostics> {
        let code = Code::believed(registry);
        self.read_with(&code, &Scale::new(), World::Ignored).map(|(settings, _)| settings)
    }

    /// The same, and what is valid but most likely not what was meant.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn checked(
        &self,
        registry: &Registry,
        scale: &Scale,
        world: World,
    ) -> Result<(Settings, Diagnostics), Diagnostics> {
        self.read_with(&Code::new(registry), scale, world)
    }

    fn read_with(
        &self,
        code: &Code<'_>,
        scale: &Scale,
        world: World,
    ) -> Result<(Settings, Diagnostics), Diagnostics> {
        let path = self.path();
        if path.to_str().is_none() {
            // All that it names is below this path, and is text: names of programs, too.
            let message = format!("the path of this file is not UTF-8: {path:?}");
            let help = "rename what has such a name, or move the file";
            return Err(Diagnostics::unusable(&self.file, message, help));
        }
        let problems = Problems::new(&path, world);
        let tree = remainder::parse(self.text(), &problems);
        self.checked_tree(tree, code, scale, &problems)
    }

    /// The same, with the tree of the whole text.
    pub(super) fn checked_tree(
        &self,
        tree: Option<Node>,
        code: &Code<'_>,
        scale: &Scale,
        problems: &Problems,
    ) -> Result<(Settings, Diagnostics), Diagnostics> {
        let tree = match self.key() {
            Some(key) => tree.and_then(|tree| part(&tree, key)),
            None => tree,
        };
        let tree = match self.adaptation() {
            Some(adaptation) => tree.map(|tree| adaptation.of_file(tree)),
            None => tree,
        };
        let settings = tree.and_then(|tree| assemble::assemble(&tree, self, code, scale, problems));
        let found = match self.key() {
            Some(key) => problems.take().below(key),
            None => problems.take(),
        };
        let diagnostics = Diagnostics::new(&self.file, self.text(), found);
        match settings {
            Some(settings) if diagnostics.count() == 0 => Ok((settings, diagnostics)),
            _ => Err(diagnostics),
        }
    }
}

/// The configuration that stands below a key. The version of the file is its version too.
fn part(tree: &Node, key: &str) -> Option<Node> {
    let mut part = tree.get(key)?.clone();
    if part.get("version").is_none() {
        let version = part.scalar_here("1", true);
        part.set("version", version);
    }
    Some(part)
}
