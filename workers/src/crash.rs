//! Last words.
