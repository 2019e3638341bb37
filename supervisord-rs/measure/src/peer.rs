//! The other side of a measurement: a thread of this process or a process, with the same code.
//!
//! A socket leads to it. An order is its length, its JSON and its descriptors; the answer is the
//! same without descriptors.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::axes::{
    communication, memory, parallelism, scalability, switching, synchronisation, time_slicing,
};
use crate::child::{self, Role};
use crate::figures::Place;
use crate::pinning::pin;

/// How long an answer may take: no turn takes nearly so long.
const DEADLINE: Duration = Duration::from_secs(60);
/// The descriptors that come with one order, at most.
const GIVEN_MAX: usize = 8;

/// What a peer does, one variant for each axis that has peers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Memory(memory::Job),
    Communication(communication::Job),
    Switching(switching::Job),
    Scalability(scalability::Job),
    Launches(scalability::Launches),
    Parallelism(parallelism::Job),
    TimeSlicing(time_slicing::Job),
    Synchronisation(synchronisation::Job),
}

/// An order: a job, and where to do it.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    cpus: Vec<usize>,
    job: Job,
}

/// What a peer keeps between orders, for each axis.
#[derive(Default)]
struct Kept {
    memory: memory::Kept,
    communication: communication::Kept,
    synchronisation: synchronisation::Kept,
}

/// The other side.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: UnixStream,
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    Thread(Option<JoinHandle<()>>),
    Process(Child),
}

impl Peer {
    /// As a thread, or as a process.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn start(place: Place) -> Result<Self, String> {
        let (socket, theirs) = UnixStream::pair().map_err(|error| format!("a socket: {error}"))?;
        socket.set_read_timeout(Some(DEADLINE)).map_err(|error| error.to_string())?;
        let runs = match place {
            Place::Thread | Place::Cell => {
                let theirs = OwnedFd::from(theirs);
                let thread = std::thread::Builder::new()
                    .name("peer".to_owned())
                    .spawn(move || serve(&theirs))
                    .map_err(|error| format!("cannot start a thread: {error}"))?;
                Runs::Thread(Some(thread))
            }
            Place::Process => Runs::Process(child::start(Role::Peer, OwnedFd::from(theirs))?),
        };
        Ok(Self { socket, runs })
    }

    /// Some of them.
    pub(crate) fn start_many(place: Place, count: usize) -> Result<Vec<Self>, String> {
        (0..count).map(|_| Self::start(place)).collect()
    }

    /// Orders a job on these processors. Does not wait for the answer.
    pub(crate) fn order(
        &self,
        job: Job,
        cpus: &[usize],
        given: &[BorrowedFd<'_>],
    ) -> Result<(), String> {
        let text = serde_json::to_vec(&Order { cpus: cpus.to_vec(), job })
            .map_err(|error| error.to_string())?;
        send(&self.socket, &text, given)
    }

    /// The answer to the last order.
    pub(crate) fn answer<T: DeserializeOwned>(&self) -> Result<T, String> {
        let (text, _) = receive(self.socket.as_fd())?.ok_or("a peer has ended")?;
        let answer: Result<Value, String> =
            serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        serde_json::from_value(answer?).map_err(|error| error.to_string())
    }

    /// Orders a job, and waits for its answer.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        job: Job,
        cpus: &[usize],
        given: &[BorrowedFd<'_>],
    ) -> Result<T, String> {
        self.order(job, cpus, given)?;
        self.answer()
    }

    /// Its process, where it has one of its own.
    pub(crate) fn pid(&self) -> Option<i32> {
        match &self.runs {
            Runs::Process(child) => Some(child::pid(child)),
            Runs::Thread(_) => None,
        }
    }

    /// Kills it where it is a process, without a word before.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        match &mut self.runs {
            Runs::Process(child) => child.kill().map_err(|error| error.to_string()),
            Runs::Thread(_) => Err("a thread cannot be killed alone".to_owned()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It sees the end of its orders.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        match &mut self.runs {
            Runs::Process(child) => child::end(child, Duration::from_millis(500)),
            Runs::Thread(thread) => {
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}

/// Carries out orders until their end.
pub(crate) fn serve(socket: &OwnedFd) {
    let mut kept = Kept::default();
    while let Ok(Some((text, given))) = receive(socket.as_fd()) {
        let answer = match serde_json::from_slice(&text) {
            Ok(order) => carry_out(order, given, &mut kept),
            Err(error) => Err(error.to_string()),
        };
        let Ok(text) = serde_json::to_vec(&answer) else { return };
        if send(socket, &text, &[]).is_err() {
            return;
        }
    }
}

fn carry_out(order: Order, given: Vec<OwnedFd>, kept: &mut Kept) -> Result<Value, String> {
    pin(&order.cpus)?;
    match order.job {
        Job::Memory(job) => job.run(given, &mut kept.memory),
        Job::Communication(job) => job.run(given, &mut kept.communication),
        Job::Switching(job) => job.run(given),
        Job::Scalability(job) => job.run(given),
        Job::Launches(job) => job.run(),
        Job::Parallelism(job) => job.run(given),
        Job::TimeSlicing(job) => job.run(),
        Job::Synchronisation(job) => job.run(given, &mut kept.synchronisation),
    }
}

/// Its length and its descriptors, then the text.
fn send(socket: &impl AsFd, text: &[u8], given: &[BorrowedFd<'_>]) -> Result<(), String> {
    let socket = socket.as_fd();
    let length = u32::try_from(text.len()).map_err(|_| "an order that is too long")?;
    let numbers: Vec<i32> = given.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights };
    let bytes = length.to_le_bytes();
    let parts = [std::io::IoSlice::new(&bytes)];
    sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(|error| format!("a peer has ended ({})", error.desc()))?;
    stream(socket)?.write_all(text).map_err(|error| format!("a peer has ended ({error})"))
}

/// A text and what came with it.
type Received = (Vec<u8>, Vec<OwnedFd>);

/// `None`: there is no more.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<Received>, String> {
    let mut length = [0_u8; 4];
    let mut given = Vec::new();
    let mut space = cmsg_space!([i32; GIVEN_MAX]);
    let count = {
        let mut parts = [std::io::IoSliceMut::new(&mut length)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = loop {
            match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => {
                    return Err(format!("no answer in {} s", DEADLINE.as_secs()));
                }
                message => break message.map_err(|error| error.desc().to_owned())?,
            }
        };
        for control in message.cmsgs().map_err(|error| error.desc().to_owned())? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel has just made them for this process, and nothing else knows
                // of them.
                given.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        message.bytes
    };
    if count == 0 {
        return Ok(None);
    }
    let mut stream = stream(socket)?;
    stream.read_exact(&mut length[count..]).map_err(|error| error.to_string())?;
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut text).map_err(|error| error.to_string())?;
    Ok(Some((text, given)))
}

/// The same socket, to read and write by the standard library.
fn stream(socket: BorrowedFd<'_>) -> Result<UnixStream, String> {
    let copy = socket.try_clone_to_owned().map_err(|error| error.to_string())?;
    Ok(copy.into())
}
