//! What a worker writes, which the supervisor captures.

use nix::errno::Errno;

use super::{Context, Shared};

impl Context {
    /// Writes a line to the worker's captured output. A reader that has gone is not an error.
    /// Blocks while the pipe is full, as long as the supervisor has not read it.
    ///
    /// ```
    /// # use workers::{Context, testing::Harness};
    /// let greet = |context: &Context, whom: String| {
    ///     context.log_line(format!("hello, {whom}"));
    ///     Ok(())
    /// };
    /// let registry = workers::Registry::default().function("greeter", "args: whom", greet);
    /// let greeter = Harness::new(&registry, "greeter", "world".into()).start();
    /// assert_eq!(greeter.wait_output("\n"), "hello, world\n");
    /// ```
    pub fn log_line(&self, line: impl AsRef<str>) {
        self.shared.write_line(line.as_ref());
        self.tick();
    }
}

impl Shared {
    /// Writes a line to the output; no sign of life.
    pub(crate) fn write_line(&self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Writes all of it, as [`Context::log_line`] does.
    pub(crate) fn write(&self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            match nix::unistd::write(&self.output, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }
}
