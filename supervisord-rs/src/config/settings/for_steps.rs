//! What single steps of a launch are told, each by a type that the reader of its key and the step
//! know, and nothing between them: a new one is no field of anything.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// Values of different types, at most one of each.
#[derive(Clone, Debug, Default)]
pub struct ForSteps(Vec<Arc<dyn Told>>);

/// One of them. How it prints tells it from another: by that it is known whether a reload changes
/// it.
trait Told: Any + Debug + Send + Sync {}

impl<T: Any + Debug + Send + Sync> Told for T {}

impl ForSteps {
    /// Adds one, if there is one. Each type is set once.
    pub(crate) fn set<T: Any + Debug + Send + Sync>(&mut self, told: Option<T>) {
        debug_assert!(self.get::<T>().is_none(), "two keys have one type");
        self.0.extend(told.map(|told| Arc::new(told) as Arc<dyn Told>));
    }

    /// The one of this type.
    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        self.0.iter().find_map(|told| (&**told as &dyn Any).downcast_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct One(u8);

    #[derive(Debug, PartialEq)]
    struct Other(u8);

    #[test]
    fn each_is_found_by_its_type_and_prints_as_it_is() {
        let mut all = ForSteps::default();
        all.set(Some(One(1)));
        assert_eq!((all.get(), all.get::<Other>()), (Some(&One(1)), None));
        all.set::<Other>(None);
        let before = format!("{all:?}");
        all.set(Some(Other(2)));
        assert_eq!((all.get(), all.get()), (Some(&One(1)), Some(&Other(2))));
        assert_ne!(format!("{all:?}"), before);
        assert_eq!(format!("{all:?}"), "ForSteps([One(1), Other(2)])");
    }
}
