//! A file system that does not answer: the kernel blocks every process that accesses it, and not
//! even SIGKILL ends that process, as with a dead disk or a server that is gone (fuse(4)).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::skip::{Lack, skip};

/// Opcode of the first request, which the kernel sends by itself (linux/fuse.h).
const INIT: u32 = 26;
const VERSION: [u32; 2] = [7, 31];

/// Mounted over a directory, whose content is visible again when it is gone.
pub(crate) struct DeadDisk {
    directory: PathBuf,
    device: Option<File>,
    /// The threads whose requests it has.
    blocked: Arc<Mutex<Vec<i32>>>,
}

impl DeadDisk {
    /// `None`, and a reported skip, where this machine has no FUSE or the test may not mount.
    pub(crate) fn over(directory: &Path) -> Option<Self> {
        let device = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                skip(Lack::Fuse, &format!("/dev/fuse: {error}"));
                return None;
            }
        };
        fcntl(&device, FcntlArg::F_SETFD(FdFlag::empty())).expect("an open descriptor");
        let options =
            format!("nosuid,nodev,fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let mut mount = Command::new("mount");
        let mounted =
            mount.args(["-i", "-t", "fuse", "-o", &options, "dead"]).arg(directory).output();
        fcntl(&device, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("an open descriptor");
        if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
            skip(Lack::Fuse, &format!("a FUSE file system cannot be mounted: {mounted:?}"));
            return None;
        }
        let mut reader = device.try_clone().expect("a descriptor");
        greet(&mut reader);
        // Reads requests and answers none, until the file system is gone.
        let blocked = Arc::<Mutex<Vec<i32>>>::default();
        let taken = Arc::clone(&blocked);
        std::thread::spawn(move || {
            let mut request = vec![0; 1 << 17];
            while reader.read(&mut request).is_ok() {
                // `pid` of `fuse_in_header` (linux/fuse.h): the thread that asks.
                let tid = i32::from_ne_bytes(request[32..36].try_into().expect("four bytes"));
                taken.lock().expect("no panic").push(tid);
            }
        });
        Some(Self { directory: directory.into(), device: Some(device), blocked })
    }

    /// Whether a thread of this process waits for an answer: from then on not even SIGKILL ends it.
    /// As long as the file system has not read a request, the kernel takes that back.
    pub(crate) fn blocks(&self, pid: i32) -> bool {
        let blocked = self.blocked.lock().expect("no panic");
        supervisord_rs::process_table::threads(pid).iter().any(|tid| blocked.contains(tid))
    }

    /// Waiting processes get an error, and the former content is visible again.
    pub(crate) fn heal(&mut self) {
        if self.device.take().is_some() {
            // By force: that ends the connection, and the reader with it.
            let done = Command::new("umount").args(["-f", "-l"]).arg(&self.directory).status();
            assert!(done.is_ok_and(|status| status.success()), "it is mounted");
        }
    }
}

impl Drop for DeadDisk {
    fn drop(&mut self) {
        self.heal();
    }
}

/// Answers the kernel's first request: without that processes would wait in another way.
fn greet(device: &mut File) {
    let mut request = vec![0; 1 << 17];
    let count = device.read(&mut request).expect("a greeting");
    let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"));
    assert!(count >= 40 && word(4) == INIT, "the first request is the greeting");
    let mut body = vec![0; 64];
    body[..4].copy_from_slice(&VERSION[0].to_ne_bytes());
    body[4..8].copy_from_slice(&VERSION[1].to_ne_bytes());
    body[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
    let length = u32::try_from(16 + body.len()).expect("small");
    let mut answer = [length.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
    answer.extend_from_slice(&request[8..16]);
    answer.extend_from_slice(&body);
    device.write_all(&answer).expect("an answer");
}
