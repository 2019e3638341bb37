//! What a worker is.

/// The workers that a binary knows, by name.
#[derive(Debug, Default)]
pub struct Registry {}

/// What a worker gets.
#[derive(Debug)]
pub struct Context {}

/// Why a worker gave up.
#[derive(Debug)]
pub struct WorkerError {}

/// A worker.
pub trait Worker {}
