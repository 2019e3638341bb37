//! The thread on which clients are served, with a runtime of its own: reading a request, making
//! JSON of an answer and writing it take no turn of the loop. It is there from the start, so that
//! a request is answered where no thread can be had any more.

use std::io;

use crate::threads;
use tokio::runtime::{Builder, Handle};

/// The thread, once it is started. It lives as long as the process.
#[derive(Debug, Default)]
pub struct ApiThread(Option<Handle>);

impl ApiThread {
    /// Where tasks are spawned that serve. The first call starts the thread.
    ///
    /// # Errors
    /// EAGAIN when there can be no thread, EMFILE when there can be no event loop.
    pub(super) fn handle(&mut self) -> io::Result<Handle> {
        if let Some(handle) = &self.0 {
            return Ok(handle.clone());
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("api".into());
        threads::spawn(thread, move || runtime.block_on(std::future::pending::<()>()))?;
        Ok(self.0.insert(handle).clone())
    }
}
