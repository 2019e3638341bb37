//! Users and groups of the machine, by name or number.
//!
//! A statically linked program cannot ask the name service switch (getpwnam(3) loads shared
//! libraries then): it reads `/etc/passwd` and `/etc/group`; a container has nothing else anyway.

use std::ffi::CString;
use std::path::PathBuf;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name; its number where it has no name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Its home directory.
    pub home: PathBuf,
    /// Its login shell.
    pub shell: PathBuf,
}

/// The user of this name, or of this number. May read files or ask a name service: call it before a
/// launch, not in one.
#[must_use]
pub fn user(name: &str) -> Option<User> {
    if let Some(user) = lookup::user(name) {
        return Some(user);
    }
    let uid: u32 = name.parse().ok()?;
    let unnamed =
        User { name: name.into(), uid, gid: uid, home: "/".into(), shell: "/bin/sh".into() };
    Some(lookup::user_by_id(uid).unwrap_or(unnamed))
}

/// The number of the group of this name, or the number itself.
#[must_use]
pub fn group(name: &str) -> Option<u32> {
    lookup::group(name).or_else(|| name.parse().ok())
}

/// The name of the group with this number; the number where it has none.
#[must_use]
pub fn name_of_group(gid: u32) -> String {
    lookup::name_of_group(gid).unwrap_or_else(|| gid.to_string())
}

/// The name of the user with this number; the number where it has none.
#[must_use]
pub fn name_of_user(uid: u32) -> String {
    lookup::user_by_id(uid).map_or_else(|| uid.to_string(), |user| user.name)
}

/// All groups of a user, its own included.
#[must_use]
pub fn groups_of(user: &User) -> Vec<u32> {
    let Ok(name) = CString::new(user.name.as_str()) else { return vec![user.gid] };
    lookup::groups_of(&name, user.gid)
}

#[cfg(not(target_feature = "crt-static"))]
mod lookup {
    use std::ffi::CStr;

    use nix::unistd::{Gid, Group, Uid, getgrouplist};

    pub(super) fn user(name: &str) -> Option<super::User> {
        nix::unistd::User::from_name(name).ok().flatten().map(convert)
    }

    pub(super) fn user_by_id(uid: u32) -> Option<super::User> {
        nix::unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten().map(convert)
    }

    pub(super) fn group(name: &str) -> Option<u32> {
        Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }

    pub(super) fn name_of_group(gid: u32) -> Option<String> {
        Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
    }

    pub(super) fn groups_of(name: &CStr, gid: u32) -> Vec<u32> {
        let groups = getgrouplist(name, Gid::from_raw(gid));
        groups.map_or_else(|_| vec![gid], |groups| groups.into_iter().map(Gid::as_raw).collect())
    }

    fn convert(user: nix::unistd::User) -> super::User {
        let nix::unistd::User { name, uid, gid, dir, shell, .. } = user;
        super::User { name, uid: uid.as_raw(), gid: gid.as_raw(), home: dir, shell }
    }
}

#[cfg(target_feature = "crt-static")]
mod lookup {
    use std::ffi::CStr;

    pub(super) fn user(name: &str) -> Option<super::User> {
        lines("/etc/passwd").filter_map(|line| parse(&line)).find(|user| user.name == name)
    }

    pub(super) fn user_by_id(uid: u32) -> Option<super::User> {
        lines("/etc/passwd").filter_map(|line| parse(&line)).find(|user| user.uid == uid)
    }

    pub(super) fn group(name: &str) -> Option<u32> {
        lines("/etc/group").find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    }

    pub(super) fn name_of_group(gid: u32) -> Option<String> {
        lines("/etc/group").find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
        })
    }

    pub(super) fn groups_of(name: &CStr, gid: u32) -> Vec<u32> {
        let name = name.to_string_lossy();
        let others = lines("/etc/group").filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_member = fields.get(3)?.split(',').any(|member| member == name);
            fields.get(2)?.parse().ok().filter(|_| is_member)
        });
        std::iter::once(gid).chain(others).collect()
    }

    fn lines(path: &str) -> impl Iterator<Item = String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
    }

    fn parse(line: &str) -> Option<super::User> {
        let fields: Vec<&str> = line.split(':').collect();
        Some(super::User {
            name: (*fields.first()?).into(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5)?.into(),
            shell: fields.get(6)?.into(),
        })
    }
}
