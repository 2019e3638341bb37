//! Runs workers inside a child.
