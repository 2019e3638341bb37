//! `sockets:`: listening sockets that the supervisor opens and passes on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use super::problems::At;
use super::reader::{Cursor, Section};
use super::schema::key::{key, words};
use super::schema::{Key, Kind, Table};
use super::settings::{Address, SocketKind, SocketSpec, default};
use super::world;
use crate::accounts;

pub(super) static SOCKETS: Key = key(
    "sockets",
    Kind::List(&Kind::Either(&[Kind::Address, Kind::Section(&TABLE)])),
    "Listening sockets that the supervisor opens and passes on: they stay open while the worker \
     restarts, and instances share them. An address alone is short for `{ listen: ADDRESS }`.",
)
.or("[]")
.such_as("[{ listen: \"127.0.0.1:8080\", name: web }]");
static TABLE: Table = Table::of(&[&[&LISTEN, &TYPE, &NAME, &MODE, &USER, &GROUP, &BACKLOG]]);
static LISTEN: Key = key(
    "listen",
    Kind::Address,
    "An IP address and a port, a port alone for every address, or `unix:PATH`.",
)
.such_as("127.0.0.1:8080")
.needed();
static TYPE: Key = key(
    "type",
    Kind::Words(&words(&TYPES)),
    "What kind of socket it is. `seqpacket` is for Unix sockets.",
)
.or("stream");
static NAME: Key = key(
    "name",
    Kind::Text,
    "Its name in `LISTEN_FDNAMES`. A `worker:` asks for its sockets by name, and needs one.",
)
.or("unknown")
.such_as("web");
static MODE: Key = key("mode", Kind::Mode, "Permission bits of a Unix socket.").or("\"0666\"");
static USER: Key =
    key("user", Kind::Text, "Who owns a Unix socket. The supervisor's, where it is not written.")
        .such_as("www-data");
static GROUP: Key = key(
    "group",
    Kind::Text,
    "Whose group a Unix socket has. The supervisor's, where it is not written.",
)
.such_as("www-data");
static BACKLOG: Key = key(
    "backlog",
    Kind::Number { low: 1, high: i32::MAX as i64 },
    "Connections that may wait (listen(2)).",
)
.or("4096");

const TYPES: [(&str, SocketKind); 3] = [
    ("stream", SocketKind::Stream),
    ("datagram", SocketKind::Datagram),
    ("seqpacket", SocketKind::Seqpacket),
];

/// The name of a socket without one, as sd_listen_fds_with_names(3) has it.
const UNNAMED: &str = "unknown";
const NAMELESS: &str = "a `worker:` asks for its sockets by name, and this one has none";

/// Where a worker's sockets listen, and where that is written.
#[derive(Debug)]
struct Listening {
    base: String,
    address: Address,
    kind: SocketKind,
    at: At<()>,
}

/// All addresses of a file: one that is taken twice is an error, at both places. Those with the
/// same port are together.
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<Port, Vec<Listening>>);

/// The part of an address that two must share to be in each other's way.
type Port = Result<u16, PathBuf>;

impl Addresses {
    /// Adds those of a worker; says which of them are taken. `written`: its `sockets:`.
    pub(super) fn add(&mut self, written: &Cursor<'_>, base: &str, specs: &[SocketSpec]) {
        let list = written.list().unwrap_or_default();
        if list.len() != specs.len() {
            // One of them is wrong in itself.
            return;
        }
        for (cursor, spec) in list.iter().zip(specs) {
            let (base, address, kind) = (base.to_owned(), spec.address.clone(), spec.kind);
            let listening = Listening { base, address, kind, at: cursor.at(()) };
            let known = self.0.entry(port(&listening.address)).or_default();
            let overlaps = |other: &&Listening| {
                other.kind == kind && overlap(&other.address, &listening.address)
            };
            let other = known.iter().find(overlaps);
            // Instances share their sockets, and so do workers that have them from `defaults:`.
            if other.is_some_and(|other| other.at.span == listening.at.span) {
                continue;
            }
            if let Some(other) = other {
                let message = format!("the address `{}` is used twice", spec.listen);
                let label = format!("by worker {}: `{}`", other.base, other.address);
                let help = match listening.address {
                    Address::Unix(_) => "choose another path, or use `instances:`, which share one",
                    Address::Ip(_) => "choose another port, or use `instances:`, which share one",
                };
                let problem = listening.at.problem(message).beside(other.at.span.clone(), label);
                cursor.problems.push(problem.help(help));
            } else {
                known.push(listening);
            }
        }
    }
}

fn port(address: &Address) -> Port {
    match address {
        Address::Ip(address) => Ok(address.port()),
        Address::Unix(path) => Err(plain(path)),
    }
}

/// A path without `.` and `..`, as the text alone tells it: two that differ in these are one.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// Whether the kernel lets only one of two sockets have its address.
fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix(one), Address::Unix(other)) => plain(one) == plain(other),
        (Address::Ip(one), Address::Ip(other)) => {
            // `[::]` takes IPv4 too.
            let takes = |all: &SocketAddr, one: &SocketAddr| {
                all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
            };
            one.port() == other.port()
                && one.port() != 0
                && (one.ip() == other.ip() || takes(one, other) || takes(other, one))
        }
        (Address::Unix(_), Address::Ip(_)) | (Address::Ip(_), Address::Unix(_)) => false,
    }
}

/// Reads them.
pub(super) fn read(worker: &Section<'_>, is_sdk: bool) -> Vec<SocketSpec> {
    let list = worker.get(&SOCKETS).and_then(|cursor| cursor.list()).unwrap_or_default();
    let named = |cursor: &Cursor<'_>| {
        let spec = socket(cursor)?;
        if !is_sdk || spec.name != UNNAMED {
            return Some(spec);
        }
        // `defaults:` may be for commands.
        if !cursor.node.is_default {
            let expected = format!("`{{ listen: \"{}\", name: http }}`", spec.listen);
            cursor.refuse(NAMELESS, &expected);
        }
        None
    };
    list.iter().filter_map(named).collect()
}

fn socket(cursor: &Cursor<'_>) -> Option<SocketSpec> {
    if cursor.is_scalar() {
        let listen = cursor.string()?.value;
        return spec(cursor, listen, None);
    }
    let section = cursor.section(&TABLE)?;
    match section.string(&LISTEN) {
        Some(listen) => spec(cursor, listen.value, Some(&section)),
        None => {
            if !section.means(&LISTEN) {
                cursor.refuse("missing `listen:`", "`listen: 127.0.0.1:8080`");
            }
            None
        }
    }
}

fn spec(cursor: &Cursor<'_>, listen: String, section: Option<&Section<'_>>) -> Option<SocketSpec> {
    let Some(address) = Address::in_file(&listen, true, cursor.problems) else {
        cursor.refuse(
            format!("invalid address `{listen}`"),
            "an IP address and a port up to 65535, such as 127.0.0.1:8080, a port alone for every \
             address, or unix:PATH",
        );
        return None;
    };
    let kind =
        section.and_then(|section| section.choice(&TYPE, &TYPES)).unwrap_or(SocketKind::Stream);
    let is_unix = matches!(address, Address::Unix(_));
    if let Address::Unix(path) = &address {
        world::check_socket_name(cursor, path);
    }
    if kind == SocketKind::Seqpacket && !is_unix {
        cursor.refuse(
            "only a Unix socket has `type: seqpacket`",
            "`type: stream` or `type: datagram`",
        );
    }
    let account = |key: &'static Key, exists: fn(&str) -> bool| {
        let cursor =
            section?.get_if(is_unix, key, "only a Unix socket has an owner", "no such key here")?;
        let name = cursor.string()?.value;
        if !exists(&name) {
            let expected = format!("the name or number of a {} of this machine", key.name);
            cursor.refuse(format!("unknown {} `{name}`", key.name), &expected);
        }
        Some(name)
    };
    let mode = section.and_then(|section| {
        section.get_if(is_unix, &MODE, "only a Unix socket has a mode", "no `mode:` here")?.mode()
    });
    let name = section.and_then(|section| section.string(&NAME)).map_or_else(
        || UNNAMED.to_owned(),
        |name| {
            // sd_listen_fds_with_names(3): the names stand in one variable, separated by colons.
            if name.value.contains(':') || name.value.is_empty() {
                cursor.refuse("invalid `name:` of a socket", "a word without `:`, such as `web`");
            }
            name.value
        },
    );
    Some(SocketSpec {
        address,
        kind,
        name,
        mode: mode.map_or(0o666, |mode| mode.value),
        user: account(&USER, |name| accounts::user(name).is_some()),
        group: account(&GROUP, |name| accounts::group(name).is_some()),
        backlog: section
            .and_then(|section| section.get(&BACKLOG)?.integer(1, i32::MAX.into()))
            .map_or(default::BACKLOG, |backlog| i32::try_from(backlog.value).unwrap_or(i32::MAX)),
        listen,
    })
}
