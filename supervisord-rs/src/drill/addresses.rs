//! The addresses of a second supervisor of one configuration: those of `sockets:` become private
//! ones, and what cannot be changed must be free.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::config::settings::{Address, Ready, SocketKind, SocketSpec};
use crate::config::{Launch, PrivateAddress, Settings};
use crate::unix_socket::is_served;

/// For a server of this machine to take a connection.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A free port on the same interface, or a path in the trial's directory, for each address of
/// `sockets:`.
pub(super) fn private<'a>(
    all: impl IntoIterator<Item = &'a Settings>,
    directory: &Path,
) -> io::Result<Vec<PrivateAddress>> {
    let mut specs: BTreeMap<&str, &SocketSpec> = BTreeMap::new();
    let launches = all.into_iter().flat_map(|settings| &settings.launches);
    for spec in launches.flat_map(|launch| &launch.sockets) {
        specs.entry(&spec.listen).or_insert(spec);
    }
    // All are held until each is chosen, so that no two are the same.
    let mut held = Vec::new();
    let mut addresses = Vec::new();
    for (index, (written, spec)) in specs.into_iter().enumerate() {
        let written = written.to_owned();
        addresses.push(match &spec.address {
            Address::Ip(address) if address.port() == 0 => continue,
            Address::Ip(address) => {
                let socket = bound(SocketAddr::new(address.ip(), 0), spec.kind)?;
                let port = socket.local_addr()?.as_socket().map_or(0, |local| local.port());
                held.push(socket);
                PrivateAddress {
                    written,
                    private: SocketAddr::new(address.ip(), port).to_string(),
                    mentions: hosts(address.ip())
                        .into_iter()
                        .map(|host| {
                            (format!("{host}:{}", address.port()), format!("{host}:{port}"))
                        })
                        .collect(),
                }
            }
            Address::Unix(path) => {
                let private = directory.join(format!("socket-{index}")).display().to_string();
                let mentions = vec![(path.display().to_string(), private.clone())];
                PrivateAddress { written, private, mentions }
            }
        });
    }
    Ok(addresses)
}

/// How texts name a host that a socket of this address answers on.
fn hosts(ip: IpAddr) -> Vec<String> {
    let own = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let local = match ip {
        ip if !ip.is_loopback() && !ip.is_unspecified() => &[][..],
        IpAddr::V4(_) => &["127.0.0.1", "0.0.0.0", "localhost"],
        IpAddr::V6(_) => &["[::1]", "[::]", "127.0.0.1", "localhost"],
    };
    let mut hosts = vec![own];
    hosts.extend(local.iter().map(|&host| host.to_owned()));
    hosts.dedup();
    hosts
}

fn bound(address: SocketAddr, kind: SocketKind) -> io::Result<Socket> {
    let kind = match kind {
        SocketKind::Stream | SocketKind::Seqpacket => Type::STREAM,
        SocketKind::Datagram => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether a supervisor with `adapted` disturbs none with `written`, which may run now.
///
/// # Errors
/// What is in the way, and what to do.
pub(super) fn check(written: &Settings, adapted: &Settings) -> Result<(), String> {
    let file = written.source.file.display();
    for (was, is) in written.launches.iter().zip(&adapted.launches) {
        let is_kept = |(was, is): &(&SocketSpec, &SocketSpec)| {
            was.address == is.address
                && !matches!(was.address, Address::Ip(address) if address.port() == 0)
        };
        if let Some((spec, _)) = was.sockets.iter().zip(&is.sockets).find(is_kept) {
            return Err(format!(
                "each trial needs its own address in place of `{}` of {}, and an address with \
                 `${{instance}}` or `${{name}}` cannot be replaced: write it out in a copy of \
                 {file}",
                spec.listen, was.name
            ));
        }
    }
    let private: Vec<&Address> = adapted
        .launches
        .iter()
        .flat_map(|launch| launch.sockets.iter().map(|spec| &spec.address))
        .collect();
    for launch in &adapted.launches {
        for address in asked(launch).into_iter().filter(|address| !private.contains(address)) {
            if is_taken(address) {
                return Err(format!(
                    "{address}, which a probe of {} asks, is in use: each trial starts a second \
                     {}, and would ask the first. Stop what uses it (a running supervisor of \
                     {file}?), or give a copy of {file} another address",
                    launch.name, launch.name
                ));
            }
        }
    }
    Ok(())
}

/// The addresses that the probes of a worker ask.
fn asked(launch: &Launch) -> Vec<&Address> {
    let ready = match &launch.ready {
        Ready::Probe(probe) => Some(probe),
        Ready::ByItself | Ready::Notify | Ready::Newline(_) | Ready::Log(_) => None,
    };
    let probes = [ready, launch.health.readiness.as_ref(), launch.health.liveness.as_ref()];
    probes.into_iter().flatten().filter_map(|probe| probe.check.address()).collect()
}

/// Whether a server of this machine has it.
pub(super) fn is_taken(address: &Address) -> bool {
    match address {
        Address::Ip(address) => match bound(*address, SocketKind::Stream) {
            Ok(_) => false,
            // The ports below 1024 are not for each user, but each may ask there.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                TcpStream::connect_timeout(address, AT_ONCE).is_ok()
            }
            Err(error) => error.kind() == io::ErrorKind::AddrInUse,
        },
        Address::Unix(path) => is_served(path, Type::STREAM).unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_without_a_server_is_not_in_use() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.sock");
        let address = Address::Unix(path.clone());
        assert!(!is_taken(&address), "there is no file");
        let listener = UnixListener::bind(&path).expect("bound");
        assert!(is_taken(&address));
        drop(listener);
        assert!(path.exists() && !is_taken(&address), "its server has gone");
    }
}
