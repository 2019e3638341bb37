//! What an incarnation is handed of what it shares, by name.

use std::sync::Arc;

use workers::runtime::endowment::{CHANNEL, Named, SHARED};

use super::made::Made;
use crate::config::settings::Resource;

/// What an incarnation is handed of them, by name.
#[derive(Debug, Default)]
pub(in crate::isolation) struct Handed(pub(super) Vec<Item>);

/// One resource, with the names of its descriptors: for registered code, and for a command.
#[derive(Debug)]
pub(super) struct Item {
    resource: String,
    made: Arc<Made>,
    names: Vec<String>,
    plain: Vec<String>,
    /// Its name of POSIX.
    posix: Option<String>,
}

impl Item {
    pub(super) fn of(resource: &Resource, posix: Option<String>, made: Arc<Made>) -> Self {
        let (name, by) = (&resource.name, resource.by().unwrap_or_default());
        let ends = || resource.ends().iter();
        let names = ends().map(|end| format!("{CHANNEL}{by}/{name}/{end}"));
        let plain = ends().map(|end| format!("{name}.{end}"));
        Self {
            resource: name.clone(),
            names: std::iter::once(format!("{SHARED}{name}")).chain(names).collect(),
            plain: std::iter::once(name.clone()).chain(plain).collect(),
            made,
            posix,
        }
    }

    fn named<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = Named<'a>> {
        names.iter().map(String::as_str).zip(self.made.descriptors())
    }
}

impl Handed {
    /// For an order.
    pub(in crate::isolation) fn named(&self) -> impl Iterator<Item = Named<'_>> {
        self.0.iter().flat_map(|item| item.named(&item.names))
    }

    /// The same for a command, by their own names.
    pub(in crate::isolation) fn plain(&self) -> impl Iterator<Item = Named<'_>> {
        self.0.iter().flat_map(|item| item.named(&item.plain))
    }

    /// Those with a name of POSIX: their own, and that.
    pub(in crate::isolation) fn posix(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|item| Some((item.resource.as_str(), item.posix.as_deref()?)))
    }
}
