//! What of the host may change while a session lasts: settings, modules, taint, clock source, BPF programs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use attestation::hex;
use sha2::{Digest as _, Sha256};

use crate::{
    probe::census::Census,
    session::host::{HELPERS, Host, RESTRAINTS},
};

/// Bytes of a setting; the kernel's own are shorter, and a longer one is not known.
const VALUE_BYTES_MAX: u64 = 4096;
/// Interpreters of binfmt_misc that are told one by one; of the rest, a digest.
const INTERPRETERS_MAX: usize = 128;

/// The host now.
pub(super) fn host() -> Host {
    Host {
        taint: super::line(Path::new("/proc/sys/kernel/tainted")).and_then(|bits| bits.parse().ok()),
        lockdown: super::line(Path::new("/sys/kernel/security/lockdown")).and_then(|modes| chosen(&modes)),
        clock_source: super::line(Path::new("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        settings: settings(),
        modules: fs::read_to_string("/proc/modules").ok().map(|list| modules(&list)),
        census: Census::take().ok(),
    }
}

/// The word in brackets.
fn chosen(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn settings() -> BTreeMap<String, Vec<u8>> {
    let named = HELPERS.iter().chain(&RESTRAINTS).map(|name| ((*name).to_owned(), path(name)));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let agents = mounted(&mounts, "cgroup").map(|place| {
        let agent = place.join("release_agent");
        (format!("release_agent {}", place.display()), agent)
    });
    let mut settings: BTreeMap<String, Vec<u8>> =
        named.chain(agents).filter_map(|(name, path)| Some((name, value(&path)?))).collect();
    // What is not mounted is not looked for: the path may be one where that would mount it.
    if let Some(place) = mounted(&mounts, "binfmt_misc").last() {
        settings.extend(interpreters(&place));
    }
    settings
}

/// Where a setting stands.
fn path(name: &str) -> PathBuf {
    if name == "uevent_helper" {
        "/sys/kernel/uevent_helper".into()
    } else {
        Path::new("/proc/sys").join(name.replace('.', "/"))
    }
}

/// Where file systems of a type are mounted.
fn mounted<'a>(mounts: &'a str, kind: &'a str) -> impl Iterator<Item = PathBuf> + use<'a> {
    let of_kind =
        move |line: &&str| line.split_once(" - ").is_some_and(|(_, rest)| rest.split(' ').next() == Some(kind));
    mounts.lines().filter(of_kind).filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
}

/// The entries of binfmt_misc: what runs instead of files that begin so.
fn interpreters(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(place) else { return BTreeMap::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let named = |name: String| Some((format!("binfmt_misc/{name}"), value(&place.join(&name))?));
    let mut all: BTreeMap<String, Vec<u8>> = names.filter(|name| name != "register").filter_map(named).collect();
    let Some(first) = all.keys().nth(INTERPRETERS_MAX).cloned() else { return all };
    let rest = all.split_off(&first);
    let digest = Sha256::digest(format!("{rest:?}"));
    all.insert(format!("binfmt_misc, {} more", rest.len()), format!("sha256 {}", hex::encode(&digest)).into_bytes());
    all
}

/// A setting's text without its line end.
fn value(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(VALUE_BYTES_MAX + 1).read_to_end(&mut text).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    (text.len() as u64 <= VALUE_BYTES_MAX).then_some(text)
}

/// Names with the marks in parentheses, at a line's end where the kernel has some.
fn modules(list: &str) -> BTreeMap<String, String> {
    let module = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        let marks = words.next_back().filter(|last| last.starts_with('(')).unwrap_or_default();
        Some((name, marks.to_owned()))
    };
    list.lines().filter_map(module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_mode_is_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(chosen("none integrity"), None);
    }

    #[test]
    fn modules_are_told_with_their_marks() {
        let list = "ext4 1 2 - Live 0x0\nzfs 9 1 spl, Live 0x0 (POE)\n";
        let found = modules(list);
        assert_eq!(
            found.iter().map(|(name, marks)| (name.as_str(), marks.as_str())).collect::<Vec<_>>(),
            [("ext4", ""), ("zfs", "(POE)")]
        );
    }

    #[test]
    fn file_systems_are_found_by_their_type() {
        let mounts = "30 1 0:5 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n\
                      31 1 0:6 / /run/x rw shared:1 - binfmt_misc binfmt_misc rw\n\
                      32 1 0:7 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(mounts, "binfmt_misc").collect::<Vec<_>>(), [Path::new("/run/x")]);
        assert_eq!(mounted(mounts, "cgroup").count(), 0);
    }

    #[test]
    fn interpreters_beyond_the_limit_are_one_digest() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..INTERPRETERS_MAX + 2 {
            fs::write(folder.path().join(format!("{number:04}")), "enabled\n").unwrap();
        }
        fs::write(folder.path().join("register"), "").unwrap();
        let before = interpreters(folder.path());
        assert_eq!(before.len(), INTERPRETERS_MAX + 1);
        assert_eq!(before["binfmt_misc/0000"], b"enabled");
        fs::write(folder.path().join(format!("{:04}", INTERPRETERS_MAX + 1)), "disabled\n").unwrap();
        assert_ne!(interpreters(folder.path()), before);
    }

    #[test]
    fn a_setting_beyond_the_limit_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("setting");
        fs::write(&path, vec![b'x'; 4096]).unwrap();
        assert_eq!(value(&path).map(|value| value.len()), Some(4096));
        fs::write(&path, vec![b'x'; 4097]).unwrap();
        assert_eq!(value(&path), None);
    }

    #[test]
    fn this_host_has_settings_of_helpers() {
        let settings = settings();
        assert_eq!(settings["kernel.core_pattern"], value(Path::new("/proc/sys/kernel/core_pattern")).unwrap());
        assert!(settings.contains_key("kernel.randomize_va_space"));
    }
}
