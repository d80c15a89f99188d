//! Names as given, resolved against the directory that the kernel told; and the clock that events carry.

use std::{fs, io};

use rustix::time::{ClockId, clock_getres, clock_gettime};

use crate::decode::Given;

/// The absolute path of a name: `.` and empty components fall away. `..` stays: what it means depends on symbolic links,
/// which are not resolved here.
pub(super) fn absolute(given: &Given) -> Vec<u8> {
    if given.name.is_empty() {
        return given.directory.clone();
    }
    let mut path = if given.directory == b"/" { Vec::new() } else { given.directory.clone() };
    for component in given.name.split(|byte| *byte == b'/') {
        if !component.is_empty() && component != b"." {
            path.push(b'/');
            path.extend_from_slice(component);
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// CLOCK_BOOTTIME in nanoseconds.
pub fn boottime_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::Boottime)).unwrap_or(0)
}

/// Resolution of the coarse clock, which stamps a file's ctime, in nanoseconds.
pub fn grain_ns() -> u64 {
    let grain = clock_getres(ClockId::RealtimeCoarse);
    u64::try_from(grain.tv_sec * 1_000_000_000 + grain.tv_nsec).unwrap_or(0)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// When a process began, CLOCK_BOOTTIME in nanoseconds, to the clock tick that /proc tells.
pub fn start_ns(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19));
    let ticks = ticks.and_then(|ticks| ticks.parse::<u64>().ok());
    let ticks = ticks.ok_or_else(|| io::Error::other("/proc/PID/stat has no start time"))?;
    Ok(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(directory: &str, name: &str) -> String {
        let given = Given { directory: directory.into(), name: name.into() };
        String::from_utf8(absolute(&given)).unwrap()
    }

    #[test]
    fn names_are_resolved_against_their_directory() {
        assert_eq!(given("/a/b", "c"), "/a/b/c");
        assert_eq!(given("/", "c"), "/c");
        assert_eq!(given("/", "/x//y/./z"), "/x/y/z");
        assert_eq!(given("/jail", "/x"), "/jail/x");
        assert_eq!(given("/a", "../b"), "/a/../b");
        assert_eq!(given("/a", ""), "/a");
        assert_eq!(given("/", "/"), "/");
    }
}
