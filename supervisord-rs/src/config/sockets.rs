//! `sockets:`: listening sockets that the supervisor opens and passes on.

use super::probes::Address;
use super::reader::{Cursor, Section};
use super::settings::{SocketKind, SocketSpec, default};
use crate::accounts;

/// Reads them.
pub(super) fn read(worker: &Section<'_>, is_command: bool) -> Vec<SocketSpec> {
    let cursor = worker.get_if(
        is_command,
        "sockets",
        "registered code opens its own sockets",
        "`sockets:` for a `command:`",
    );
    let list = cursor.and_then(|cursor| cursor.list()).unwrap_or_default();
    list.iter().filter_map(socket).collect()
}

fn socket(cursor: &Cursor<'_>) -> Option<SocketSpec> {
    if cursor.is_scalar() {
        let listen = cursor.string()?.value;
        return spec(cursor, listen, None);
    }
    let known = ["listen", "type", "name", "mode", "user", "group", "backlog"];
    let section = cursor.section(&known, &[])?;
    match section.string("listen") {
        Some(listen) => spec(cursor, listen.value, Some(&section)),
        None => {
            cursor.refuse("it is not said where the socket listens", "listen: 127.0.0.1:8080");
            None
        }
    }
}

fn spec(cursor: &Cursor<'_>, listen: String, section: Option<&Section<'_>>) -> Option<SocketSpec> {
    let Some(address) = Address::parse(&listen, true) else {
        cursor.refuse(
            format!("`{listen}` is no place to listen at"),
            "an address and a port, such as 127.0.0.1:8080, a port alone for every address, or unix:/path",
        );
        return None;
    };
    let kinds = [
        ("stream", SocketKind::Stream),
        ("datagram", SocketKind::Datagram),
        ("seqpacket", SocketKind::Seqpacket),
    ];
    let kind =
        section.and_then(|section| section.choice("type", &kinds)).unwrap_or(SocketKind::Stream);
    let is_unix = matches!(address, Address::Unix(_));
    if kind == SocketKind::Seqpacket && !is_unix {
        cursor
            .refuse("sequenced packets are for Unix sockets", "`type: stream` or `type: datagram`");
    }
    let account = |key: &str, exists: fn(&str) -> bool| {
        let cursor = section?.get_if(
            is_unix,
            key,
            "only a Unix socket has an owner",
            "no owner for this socket",
        )?;
        let name = cursor.string()?.value;
        if !exists(&name) {
            cursor
                .refuse(format!("no {key} is called `{name}`"), "a name or number of this machine");
        }
        Some(name)
    };
    let mode = section.and_then(|section| {
        section
            .get_if(is_unix, "mode", "only a Unix socket has a mode", "no mode for this socket")?
            .mode()
    });
    let name = section.and_then(|section| section.string("name")).map_or_else(
        || "unknown".to_owned(),
        |name| {
            // sd_listen_fds_with_names(3): the names stand in one variable, separated by colons.
            if name.value.contains(':') || name.value.is_empty() {
                cursor.refuse("the name of a socket has no colon", "a word, such as `web`");
            }
            name.value
        },
    );
    Some(SocketSpec {
        address,
        kind,
        name,
        mode: mode.map_or(0o666, |mode| mode.value),
        user: account("user", |name| accounts::user(name).is_some()),
        group: account("group", |name| accounts::group(name).is_some()),
        backlog: section
            .and_then(|section| section.get("backlog")?.integer(1, i32::MAX.into()))
            .map_or(default::BACKLOG, |backlog| i32::try_from(backlog.value).unwrap_or(i32::MAX)),
        listen,
    })
}
