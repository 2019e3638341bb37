//! YAML → document as written → [`Settings`]; every problem at once, each with its place.

mod settings;

pub use settings::{Isolation, Launch, Program, Settings, SupervisorSettings, default};
