//! Tests that need the whole machine: storms of deaths, a thousand workers, a slow world, and an
//! idle one.

mod bank;
mod black_box_storm;
mod busy;
#[path = "../disturbances/mod.rs"]
mod disturbances;
#[path = "../harness/mod.rs"]
mod harness;
mod idle;
mod kill_storm;
mod killed_together;
mod slow_world;
mod storm;
mod thousand;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The holder of the machine: one test that measures, or several that load it.
static MACHINE: RwLock<()> = RwLock::new(());

/// Waits until no other test of this program runs, and blocks them.
fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no test needs the machine for itself.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}
