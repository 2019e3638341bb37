//! The environment of a process to be: what it inherits, and what is its own. What it inherits is
//! copied for none.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

/// What we have to pass on, as execve(2) takes it: by name, `NAME=VALUE`.
#[derive(Debug, Default)]
pub struct BaseEnvironment(BTreeMap<OsString, CString>);

impl BaseEnvironment {
    /// Variables that hold a NUL byte, which no process can have, are left out.
    #[must_use]
    pub fn new(variables: BTreeMap<OsString, OsString>) -> Self {
        let word = |(name, value): (OsString, OsString)| Some((word(&name, &value)?, name));
        Self(variables.into_iter().filter_map(word).map(|(word, name)| (name, word)).collect())
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &OsStr) -> Option<&OsStr> {
        self.0.get(name).map(|word| value(word, name))
    }
}

/// See above.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    inherited: Arc<BaseEnvironment>,
    /// The names of what is inherited; `None`: all of it is.
    only: Option<Vec<String>>,
    /// By name; they replace what is inherited.
    own: BTreeMap<OsString, CString>,
    has_nul: bool,
}

impl Environment {
    /// All that is inherited.
    #[must_use]
    pub fn of(inherited: &Arc<BaseEnvironment>) -> Self {
        Self { inherited: Arc::clone(inherited), ..Self::default() }
    }

    /// What is inherited, where it has one of these names.
    #[must_use]
    pub fn only(inherited: &Arc<BaseEnvironment>, names: &[String]) -> Self {
        Self { only: Some(names.to_vec()), ..Self::of(inherited) }
    }

    /// Sets a variable of its own.
    pub fn set(&mut self, name: &OsStr, value: &OsStr) {
        match word(name, value) {
            Some(word) => drop(self.own.insert(name.to_os_string(), word)),
            None => self.has_nul = true,
        }
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &OsStr) -> Option<&OsStr> {
        if let Some(word) = self.own.get(name) {
            return Some(value(word, name));
        }
        self.inherited.get(name).filter(|_| self.is_inherited(name))
    }

    /// Whether a variable was set that no process can have.
    pub(super) const fn has_nul(&self) -> bool {
        self.has_nul
    }

    /// Its variables, `NAME=VALUE`.
    pub(super) fn words(&self) -> impl Iterator<Item = &CString> {
        let inherited = self.inherited.0.iter().filter(|(name, _)| {
            !self.own.contains_key(*name) && self.is_inherited(name.as_os_str())
        });
        inherited.map(|(_, word)| word).chain(self.own.values())
    }

    fn is_inherited(&self, name: &OsStr) -> bool {
        let is = |only: &Vec<String>| only.iter().any(|wanted| name == OsStr::new(wanted));
        self.only.as_ref().is_none_or(is)
    }
}

impl<'a> FromIterator<(&'a OsStr, &'a OsStr)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a OsStr, &'a OsStr)>>(variables: I) -> Self {
        let mut environment = Self::default();
        variables.into_iter().for_each(|(name, value)| environment.set(name, value));
        environment
    }
}

/// `None`: there is a NUL byte in it.
fn word(name: &OsStr, value: &OsStr) -> Option<CString> {
    // With the NUL that ends it.
    let mut word = OsString::with_capacity(name.len() + value.len() + 2);
    word.push(name);
    word.push("=");
    word.push(value);
    CString::new(word.into_vec()).ok()
}

fn value<'a>(word: &'a CString, name: &OsStr) -> &'a OsStr {
    OsStr::from_bytes(&word.as_bytes()[name.len() + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited() -> Arc<BaseEnvironment> {
        let variables = [("A", "1"), ("B", "2"), ("C", "")];
        Arc::new(BaseEnvironment::new(
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        ))
    }

    fn words(environment: &Environment) -> Vec<&str> {
        environment.words().map(|word| word.to_str().expect("plain")).collect()
    }

    #[test]
    fn its_own_variables_replace_those_that_it_inherits() {
        let mut environment = Environment::of(&inherited());
        environment.set(OsStr::new("B"), OsStr::new("own=2"));
        environment.set(OsStr::new("D"), OsStr::new("4"));
        assert_eq!(words(&environment), ["A=1", "C=", "B=own=2", "D=4"]);
        let value = |name: &str| environment.get(OsStr::new(name)).and_then(OsStr::to_str);
        assert_eq!((value("A"), value("B"), value("C")), (Some("1"), Some("own=2"), Some("")));
        assert_eq!(value("E"), None);
    }

    #[test]
    fn it_inherits_what_has_one_of_the_names() {
        let mut environment = Environment::only(&inherited(), &["C".into(), "E".into()]);
        assert_eq!(words(&environment), ["C="]);
        assert_eq!(environment.get(OsStr::new("A")), None);
        environment.set(OsStr::new("A"), OsStr::new("own"));
        assert_eq!(words(&environment), ["C=", "A=own"]);
    }

    #[test]
    fn a_nul_byte_is_noticed() {
        let mut environment = Environment::of(&inherited());
        assert!(!environment.has_nul());
        environment.set(OsStr::new("N"), OsStr::new("a\0b"));
        assert!(environment.has_nul());
    }
}
