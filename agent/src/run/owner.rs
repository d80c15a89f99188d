//! As whom the command runs and to whom the outputs belong: under sudo, the user who called it.

use std::{env, fs, io, os::unix::fs::lchown, path::Path};

use anyhow::Context;

/// The user behind the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Whoever runs this process.
    Caller,
    /// The user who called sudo.
    Invoker {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups, from the system's database.
        groups: Vec<u32>,
    },
}

impl Owner {
    /// Reads what sudo left in the environment.
    pub fn find(as_root: bool) -> anyhow::Result<Self> {
        let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
        if as_root || !rustix::process::geteuid().is_root() {
            return Ok(Self::Caller);
        }
        let (Some(uid), Some(gid)) = (number("SUDO_UID"), number("SUDO_GID")) else { return Ok(Self::Caller) };
        if uid == 0 {
            return Ok(Self::Caller);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
        let group = fs::read_to_string("/etc/group").context("/etc/group cannot be read")?;
        let name = user_name(&passwd, uid);
        let groups = name.map_or_else(|| vec![gid], |name| groups_of(&group, name, gid));
        Ok(Self::Invoker { uid, gid, groups })
    }

    /// Hands a file or directory over.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Caller => Ok(()),
            // Never through a link: the user could have put one there.
            Self::Invoker { uid, gid, .. } => lchown(path, Some(*uid), Some(*gid)),
        }
    }
}

/// passwd(5): name, password, uid ...
fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// group(5): name, password, gid, members.
fn groups_of(group: &str, name: &str, primary: u32) -> Vec<u32> {
    let mut groups = vec![primary];
    for line in group.lines() {
        let mut fields = line.split(':').skip(2);
        let (Some(gid), Some(members)) = (fields.next().and_then(|gid| gid.parse().ok()), fields.next()) else {
            continue;
        };
        if gid != primary && members.split(',').any(|member| member == name) {
            groups.push(gid);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_from_the_database_and_the_primary_stands_once() {
        let group = "root:x:0:\nusers:x:100:ann,bob\nann:x:1000:ann\naudio:x:29:annabel\nbroken\n";
        assert_eq!(groups_of(group, "ann", 1000), [1000, 100]);
    }

    #[test]
    fn a_user_without_an_entry_has_no_name() {
        assert_eq!(user_name("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh", 1000), Some("ann"));
        assert_eq!(user_name("root:x:0:0::/root:/bin/sh", 1000), None);
    }
}
