//! The last look: under which of its names each inode is found when every process has ended, and in which version.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use super::hash::Tools;
use super::moves::Moves;
use super::place::{self, Roots};
use super::table::{Inode, NONE, Table};
use super::version::{Seen, Stamp};

/// What the look at an inode showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody looked, or the one who did is held by a file system that does not answer.
    Unlooked,
    /// No name leads to it.
    Gone,
    /// No name leads to it, and one leads to another file.
    Replaced,
    /// This is there.
    There(There),
}

/// A version at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct There {
    pub(super) stamp: Stamp,
    pub(super) mtime_sec: i64,
    pub(super) mtime_nsec: u32,
    /// The first name that leads to it; [`NONE`] where it was found under a path that the session moved it to.
    pub(super) name: u32,
}

/// What some looks showed.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) found: Vec<(u32, Found)>,
    /// Further names that lead to their inode.
    pub(super) others: Vec<u32>,
    /// Paths to which inodes were moved.
    pub(super) moved: Vec<(u32, Vec<u8>)>,
}

/// All that a look needs; shared by the workers, changed by none.
#[derive(Debug)]
pub(super) struct Looker {
    pub(super) table: Table,
    pub(super) moves: Moves,
    pub(super) roots: Roots,
}

/// The directory looked into last: files of one directory mostly follow each other.
struct Open {
    directory: u32,
    mnt_ns: u64,
    object: Option<OwnedFd>,
}

impl Looker {
    /// Looks at a range of inodes.
    pub(super) fn look(&self, inodes: Range<u32>, tools: &Tools) -> Looks {
        let mut open = Open { directory: NONE, mnt_ns: 0, object: None };
        let mut looks = Looks::default();
        for inode in inodes {
            tools.beat.fetch_add(1, Ordering::Relaxed);
            let found = self.look_at(inode, &mut open, &mut looks);
            looks.found.push((inode, found));
        }
        looks
    }

    fn look_at(&self, index: u32, open: &mut Open, looks: &mut Looks) -> Found {
        let inode = &self.table.inodes[index as usize];
        let mut found = Found::Gone;
        if inode.buried {
            return found;
        }
        for name in self.table.names_of(index) {
            match (self.see(inode, name, open), found) {
                (None, _) => {}
                (Some(seen), Found::There(_)) => {
                    if seen.is(&inode.identity) {
                        looks.others.push(name);
                    }
                }
                (Some(seen), _) if seen.is(&inode.identity) => found = Found::There(There::of(&seen, name)),
                (Some(_), _) => found = Found::Replaced,
            }
        }
        if let Found::There(_) = found {
            return found;
        }
        let Some((there, path)) = self.follow(index) else { return found };
        looks.moved.push((index, path));
        Found::There(there)
    }

    /// Looks for inodes that no known name leads to behind every name that something was moved to. Such a name is as it
    /// was given and may pass symbolic links, which the moves do not follow.
    pub(super) fn search(&self, lost: &[u32], tools: &Tools) -> Looks {
        let inode = |index: u32| &self.table.inodes[index as usize];
        let mut missing: HashMap<(u32, u64), u32> = HashMap::new();
        missing.extend(lost.iter().map(|index| (inode(*index).identity.key(), *index)));
        let namespaces: HashSet<u64> = lost.iter().map(|index| inode(*index).mnt_ns).collect();
        let roots = namespaces.iter().filter_map(|mnt_ns| self.roots.of(*mnt_ns));
        let places = roots.flat_map(|root| self.moves.targets().map(move |path| (root, path)));
        let mut looks = Looks::default();
        for (root, path) in places {
            tools.beat.fetch_add(1, Ordering::Relaxed);
            let Ok(object) = place::follow(root, path) else { continue };
            let Ok(seen) = Seen::of(&object) else { continue };
            let Some(index) = missing.get(&seen.key()).copied() else { continue };
            if seen.is(&inode(index).identity)
                && let Ok(path) = place::path_of(&object)
            {
                missing.remove(&seen.key());
                looks.found.push((index, Found::There(There::of(&seen, NONE))));
                looks.moved.push((index, path));
            }
        }
        looks
    }

    /// What stands under a name.
    fn see(&self, inode: &Inode, name: u32, open: &mut Open) -> Option<Seen> {
        let (directory, path, name) = self.table.parts(name)?;
        if open.directory != directory || open.mnt_ns != inode.mnt_ns {
            let root = self.roots.of(inode.mnt_ns)?;
            *open = Open { directory, mnt_ns: inode.mnt_ns, object: place::resolve(root, path).ok() };
        }
        Seen::at(open.object.as_ref()?, name).ok()
    }

    /// Follows the moves of every name.
    fn follow(&self, index: u32) -> Option<(There, Vec<u8>)> {
        let inode = &self.table.inodes[index as usize];
        let root = self.roots.of(inode.mnt_ns)?;
        let since = if inode.made() { inode.made_ns.saturating_sub(1) } else { 0 };
        let names = self.table.names_of(index).filter_map(|name| self.table.path(name));
        let mut paths = names.flat_map(|name| self.moves.candidates(&name, since));
        paths.find_map(|path| {
            let seen = place::resolve(root, &path).and_then(Seen::of).ok()?;
            seen.is(&inode.identity).then(|| (There::of(&seen, NONE), path))
        })
    }
}

impl There {
    fn of(seen: &Seen, name: u32) -> Self {
        Self { stamp: seen.stamp, mtime_sec: seen.mtime_sec, mtime_nsec: seen.mtime_nsec, name }
    }
}
