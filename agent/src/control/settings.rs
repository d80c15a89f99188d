//! Who may ask, as the agent's configuration says it, in its section `[control]`.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use config::{Fault, Validate};
use rustix::fs::Gid;
use serde::Deserialize;

use super::client::DEFAULT;

/// The local API.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// Whose members may have sessions, by name or number [default: nobody but root].
    pub(crate) group: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { socket: DEFAULT.into(), group: None }
    }
}

impl Settings {
    /// The group's number.
    ///
    /// # Errors
    /// If there is no such group.
    pub(super) fn group_id(&self) -> anyhow::Result<Option<Gid>> {
        let Some(name) = &self.group else { return Ok(None) };
        let number = match name.parse() {
            Ok(number) => number,
            Err(_) => named(&fs::read_to_string("/etc/group")?, name)
                .with_context(|| format!("there is no group {name}: make it, or name another"))?,
        };
        Ok(Some(Gid::from_raw(number)))
    }
}

/// group(5): name, password, gid, members.
fn named(groups: &str, name: &str) -> Option<u32> {
    let line = groups.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if !self.socket.is_absolute() {
            faults.push(Fault::new("socket", "is no absolute path"));
        }
        if self.group.as_deref() == Some("") {
            faults.push(Fault::new("group", "is empty: say which, or leave it out"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nci-runners:x:991:ann\nci:x:990:\nbroken\n";
        assert_eq!((named(groups, "ci"), named(groups, "root"), named(groups, "broken")), (Some(990), Some(0), None));
        assert_eq!(named(groups, "c"), None);
    }
}
