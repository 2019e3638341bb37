//! A disk of a run's own, which a scenario can fill: a small file system in memory at the directory
//! of the run, in a mount namespace of its process. Nobody else sees it, and it ends with the last
//! process that has it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

/// How much it takes. What a run writes must find room, and a full one is in memory.
const SIZE_MIB: usize = 64;
/// What it is filled with.
const FILLER: &str = "filler";

/// The disk of a run.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Puts it at the directory of a run, for this process and those that it starts from now on.
    ///
    /// # Errors
    /// This process has not the right, or the machine not the program for it.
    pub(super) fn put_at(directory: &Path) -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|errno| failed("unshare(2)", io::Error::from(errno)))?;
        // What is mounted here is not to show outside (mount_namespaces(7)).
        run(Command::new("mount").args(["--make-rprivate", "/"]))?;
        let options = format!("size={SIZE_MIB}m,mode=0711");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory))?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// Those of writing, but for a full disk.
    pub(super) fn fill(&self) -> io::Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.filler())?;
        let chunk = vec![0_u8; 1 << 20];
        let mut size = chunk.len();
        while size > 0 {
            match filler.write_all(&chunk[..size]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn filler(&self) -> PathBuf {
        self.directory.join(FILLER)
    }
}

/// Puts what is on the disk of a run into the directory below it, where the directory is to stay.
pub(super) fn keep(directory: &Path) {
    if !is_disk(directory) {
        return;
    }
    // The descriptor leads to what was mounted when that is mounted no more.
    let Ok(content) = File::open(directory) else { return };
    let _ = fs::remove_file(directory.join(FILLER));
    if run(Command::new("umount").arg("-l").arg(directory)).is_ok() {
        let from = format!("/proc/{}/fd/{}/.", std::process::id(), content.as_raw_fd());
        let _ = run(Command::new("cp").args(["-a", &from]).arg(directory));
    }
}

/// Removes the directory of a run, and its disk.
pub(super) fn remove(directory: &Path) {
    if fs::remove_dir_all(directory).is_err() && is_disk(directory) {
        let _ = run(Command::new("umount").arg("-l").arg(directory));
        let _ = fs::remove_dir_all(directory);
    }
}

/// Whether something is mounted at this directory (proc_pid_mountinfo(5)).
fn is_disk(directory: &Path) -> bool {
    super::left_behind::mount_points().iter().any(|point| Path::new(point) == directory)
}

fn run(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(&name, error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{name}: {said}")))
}

fn failed(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
