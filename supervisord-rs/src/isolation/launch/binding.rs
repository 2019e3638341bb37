//! A Unix socket bound at its name by a child process, for the reason that `reading` has: on a file
//! system that does not answer the kernel holds the caller that asks it for a name, and one of our
//! threads in there would keep us from dying. The rules are those of `unix_socket::bind`.
#![expect(unsafe_code, reason = "between clone and exit only bare system calls are allowed")]

use std::ffi::{CString, OsStr, c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Attempt, spawn};
use crate::stages;
use crate::unix_socket::Access;

/// What the child is to do with a name.
enum Task {
    /// Nothing but see whether there is a socket.
    Look,
    Remove,
    Bind {
        socket: RawFd,
        /// Of the same kind, not blocking: to see whether a program answers there already.
        probe: RawFd,
        address: SockAddr,
        access: Access,
    },
}

/// What the child reads and writes in our memory while we wait.
struct Order<'a> {
    attempt: &'a Attempt,
    task: Task,
    path: *const libc::c_char,
    /// The same in two: a directory, and a name in it.
    directory: *const libc::c_char,
    name: *const libc::c_char,
    parent: i32,
    /// Unchanged when it was killed.
    result: nix::Result<()>,
}

/// A socket bound at `path`, as [`crate::unix_socket::bind`] does it. May block; as long as it
/// does, `attempt` can be withdrawn.
///
/// # Errors
/// ETIMEDOUT when it was withdrawn; else as there.
pub(in crate::isolation) fn bind(
    path: &Path,
    kind: Type,
    access: Access,
    attempt: &Attempt,
) -> nix::Result<OwnedFd> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let socket = Socket::new(Domain::UNIX, kind, None).map_err(errno)?;
    let probe = Socket::new(Domain::UNIX, kind, None).map_err(errno)?;
    probe.set_nonblocking(true).map_err(errno)?;
    // The file gets the bits of the socket, less the umask: it is not open to others for a moment.
    let mode = nix::sys::stat::Mode::from_bits_truncate(access.mode & 0o700);
    nix::sys::stat::fchmod(&socket, mode)?;
    let address = SockAddr::unix(path).map_err(|_| Errno::ENAMETOOLONG)?;
    let (socket_fd, probe_fd) = (socket.as_raw_fd(), probe.as_raw_fd());
    let task = Task::Bind { socket: socket_fd, probe: probe_fd, address, access };
    carry_out(task, path, attempt)?;
    Ok(socket.into())
}

/// Whether there is a socket at `path`. May block, likewise.
///
/// # Errors
/// EADDRINUSE for something else, ENOENT for nothing.
pub(in crate::isolation) fn look(path: &Path, attempt: &Attempt) -> nix::Result<()> {
    carry_out(Task::Look, path, attempt)
}

/// Removes a name. May block, likewise.
///
/// # Errors
/// What unlink(2) says.
pub(in crate::isolation) fn remove(path: &Path, attempt: &Attempt) -> nix::Result<()> {
    carry_out(Task::Remove, path, attempt)
}

fn carry_out(task: Task, path: &Path, attempt: &Attempt) -> nix::Result<()> {
    attempt.enter(stages::SOCKET);
    let string = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL);
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = string(directory.unwrap_or(Path::new(".")).as_os_str())?;
    let name = string(path.file_name().ok_or(Errno::EISDIR)?)?;
    let whole = string(path.as_os_str())?;
    let parent = nix::unistd::getpid().as_raw();
    let mut order = Order {
        attempt,
        task,
        path: whole.as_ptr(),
        directory: directory.as_ptr(),
        name: name.as_ptr(),
        parent,
        result: Err(Errno::ETIMEDOUT),
    };
    if attempt.is_withdrawn() {
        return order.result;
    }
    let born = spawn::borrowing(child, ptr::from_mut(&mut order).cast(), attempt);
    attempt.end();
    let (_, pidfd) = born?;
    crate::isolation::exits::reaper::discard(&pidfd);
    order.result
}

extern "C" fn child(order: *mut c_void) -> c_int {
    // SAFETY: `carry_out` passes a valid `Order` that no one else uses while we run.
    let order = unsafe { &mut *order.cast::<Order<'_>>() };
    order.result = work(order);
    // SAFETY: _exit is async-signal-safe and runs nothing of the parent's.
    unsafe { libc::_exit(0) }
}

/// Numbers that the sockets have in the child.
const SOCKET: RawFd = 0;
const PROBE: RawFd = 1;

fn work(order: &Order<'_>) -> nix::Result<()> {
    // SAFETY: needed because this runs between clone and exit in borrowed memory; each of these is
    // a bare system call or listed in signal-safety(7). The path is a C string that outlives them;
    // the descriptors are open in our copy of the table, which is ours alone.
    unsafe {
        order.attempt.begin(libc::getpid());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != order.parent || order.attempt.is_withdrawn() {
            return Err(Errno::ETIMEDOUT);
        }
        if let Task::Bind { socket, probe, .. } = &order.task {
            Errno::result(libc::dup2(*socket, SOCKET))?;
            Errno::result(libc::dup2(*probe, PROBE))?;
        }
        // What it holds while it is held holds up no other.
        let first = if matches!(order.task, Task::Bind { .. }) { PROBE + 1 } else { 0 };
        libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0);
        match &order.task {
            Task::Look => is_socket(libc::AT_FDCWD, order.path),
            Task::Remove => Errno::result(libc::unlink(order.path)).map(drop),
            Task::Bind { address, access, .. } => {
                let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
                let place = (Errno::result(libc::open(order.directory, flags))?, order.name);
                remove_dead(place, address)?;
                let (name, length) = (address.as_ptr().cast(), address.len());
                Errno::result(libc::bind(SOCKET, name, length))?;
                match arrange(place, *access) {
                    // The path leads elsewhere by now.
                    Err(Errno::ENOENT) => Err(Errno::ESTALE),
                    arranged => arranged,
                }
            }
        }
    }
}

/// A name in a directory.
type Place = (RawFd, *const libc::c_char);

/// # Safety
/// `path` is a C string.
unsafe fn is_socket(directory: RawFd, path: *const libc::c_char) -> nix::Result<()> {
    // SAFETY: as the caller says; `stat` is a local.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        Errno::result(libc::fstatat(directory, path, &raw mut stat, flags))?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFSOCK { Ok(()) } else { Err(Errno::EADDRINUSE) }
    }
}

/// # Safety
/// The name is a C string.
unsafe fn remove_dead((directory, path): Place, address: &SockAddr) -> nix::Result<()> {
    // SAFETY: as the caller says; the address is as long as it says.
    unsafe {
        match is_socket(directory, path) {
            Err(Errno::ENOENT) => return Ok(()),
            found => found?,
        }
        let (name, length) = (address.as_ptr().cast(), address.len());
        match Errno::result(libc::connect(PROBE, name, length)) {
            // A full queue, or another kind: it lives.
            Ok(_) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => Err(Errno::EADDRINUSE),
            Err(_) => Errno::result(libc::unlinkat(directory, path, 0)).map(drop),
        }
    }
}

/// # Safety
/// The name is a C string.
unsafe fn arrange((directory, path): Place, access: Access) -> nix::Result<()> {
    // SAFETY: as the caller says; the other strings end with a zero, too; `stat` is a local.
    unsafe {
        // By a descriptor: who may write the directory could put a link in its place meanwhile.
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let found = Errno::result(libc::openat(directory, path, flags))?;
        let mut stat: libc::stat = std::mem::zeroed();
        Errno::result(libc::fstat(found, &raw mut stat))?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
            return Err(Errno::EADDRINUSE);
        }
        if access.user.is_some() || access.group.is_some() {
            let (user, group) = (access.user.unwrap_or(u32::MAX), access.group.unwrap_or(u32::MAX));
            let flags = libc::AT_EMPTY_PATH;
            Errno::result(libc::fchownat(found, c"".as_ptr(), user, group, flags))?;
        }
        // A descriptor of O_PATH takes no fchmod(2) before Linux 6.6.
        // Low, unless the kernel did not close what was open (close_range(2), Linux 5.9).
        let name = name_of(found);
        Errno::result(libc::chmod(name.as_ptr().cast(), access.mode)).map(drop)
    }
}

const NAME: &[u8] = b"/proc/self/fd/";
/// With the digits of any number, and a zero.
const NAME_MAX: usize = NAME.len() + 11;

/// The name of a descriptor, as a C string. Async-signal-safe: nothing is allocated.
fn name_of(descriptor: RawFd) -> [u8; NAME_MAX] {
    let (mut name, mut digits, mut rest) = ([0; NAME_MAX], 1, descriptor.unsigned_abs());
    name[..NAME.len()].copy_from_slice(NAME);
    while digits < 10 && rest >= 10_u32.pow(digits) {
        digits += 1;
    }
    for place in (0..digits as usize).rev() {
        name[NAME.len() + place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_descriptor_has_its_name_whatever_its_number() {
        for number in [0, 7, 10, 64, 99, 100, 1023, 20_000, i32::MAX] {
            let name = name_of(number);
            let name = std::ffi::CStr::from_bytes_until_nul(&name).expect("a zero");
            assert_eq!(name.to_str(), Ok(format!("/proc/self/fd/{number}").as_str()));
        }
    }

    #[test]
    fn a_socket_gets_its_name_and_bits_and_what_is_no_dead_socket_is_respected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let access = Access { mode: 0o666, user: None, group: None };
        let attempt = Attempt::default();
        assert_eq!(look(&path, &attempt), Err(Errno::ENOENT));
        for kind in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
            let socket = Socket::from(bind(&path, kind, access, &attempt).unwrap());
            assert_eq!(socket.local_addr().unwrap().as_pathname(), Some(path.as_path()));
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o666);
            if kind != Type::DGRAM {
                socket.listen(1).unwrap();
            }
            assert_eq!(look(&path, &attempt), Ok(()));
            let taken = bind(&path, kind, access, &attempt).unwrap_err();
            assert_eq!(taken, Errno::EADDRINUSE, "it is served");
        }
        assert_eq!(remove(&path, &attempt), Ok(()));
        std::fs::write(&path, "x").unwrap();
        assert_eq!(look(&path, &attempt), Err(Errno::EADDRINUSE));
        assert_eq!(bind(&path, Type::STREAM, access, &attempt).unwrap_err(), Errno::EADDRINUSE);
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        attempt.withdraw();
        assert_eq!(bind(&path, Type::STREAM, access, &attempt).unwrap_err(), Errno::ETIMEDOUT);
    }
}
