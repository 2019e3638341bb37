//! From a text to settings, or to all that is wrong with it.

use workers::Registry;

use super::diagnostics::Diagnostics;
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
        let path = self.path();
        if path.to_str().is_none() {
            // All that it names is below this path, and is text: names of programs, too.
            let message = format!("the path of this file is not UTF-8: {path:?}");
            let help = "rename what has such a name, or move the file";
            return Err(Diagnostics::unusable(&self.file, message, help));
        }
        let problems = Problems::new(&path, world);
        let tree = remainder::parse(self.text(), &problems);
        let tree = match self.adaptation() {
            Some(adaptation) => tree.map(|tree| adaptation.of_file(tree)),
            None => tree,
        };
        let settings =
            tree.and_then(|tree| assemble::assemble(&tree, self, registry, scale, &problems));
        let diagnostics = Diagnostics::new(&self.file, self.text(), problems.take());
        match settings {
            Some(settings) if diagnostics.count() == 0 => Ok((settings, diagnostics)),
            _ => Err(diagnostics),
        }
    }
}
