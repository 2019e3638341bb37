//! The text of a configuration and where it came from: all that is needed to read it once more and
//! to get the same, whatever has become of the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use workers::Registry;

use super::adaptation::Adaptation;
use super::diagnostics::Diagnostics;
use super::problems::{Problems, World};
use super::settings::Settings;
use super::{Scale, assemble, tree};

/// What a configuration was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As it was named: for people.
    pub file: PathBuf,
    /// The working directory then, where the name is relative to it.
    directory: PathBuf,
    text: String,
    /// What a trial changes in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    adaptation: Option<Adaptation>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(file: &Path) -> Result<Self, Diagnostics> {
        let text = super::read(file).map_err(|why| Diagnostics::unreadable(file, &why))?;
        Ok(Self::of(file, text))
    }

    /// A text as if it had been read from a file, here.
    #[must_use]
    pub fn of(file: &Path, text: String) -> Self {
        let here = || std::env::current_dir().unwrap_or_default();
        let directory = if file.is_absolute() { PathBuf::new() } else { here() };
        Self { file: file.into(), directory, text, adaptation: None }
    }

    /// This, as it runs in a trial.
    #[must_use]
    pub fn adapted(self, adaptation: Adaptation) -> Self {
        Self { adaptation: Some(adaptation), ..self }
    }

    /// What a trial changes in it.
    pub(super) fn adaptation(&self) -> Option<&Adaptation> {
        self.adaptation.as_ref()
    }

    /// Where the file was, from the root where that is known.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }

    /// Whether the file has this content.
    #[must_use]
    pub fn is(&self, content: &[u8]) -> bool {
        self.text.as_bytes() == content
    }

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
        let tree = tree::parse(&self.text, &problems);
        let tree = match &self.adaptation {
            Some(adaptation) => tree.map(|tree| adaptation.of_file(tree)),
            None => tree,
        };
        let settings =
            tree.and_then(|tree| assemble::assemble(&tree, self, registry, scale, &problems));
        let diagnostics = Diagnostics::new(&self.file, &self.text, problems.take());
        match settings {
            Some(settings) if diagnostics.count() == 0 => Ok((settings, diagnostics)),
            _ => Err(diagnostics),
        }
    }
}
