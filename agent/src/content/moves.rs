//! Names that moved while the session ran: where a file that was opened under one name may be found at the end.
//!
//! A hint only: whatever a name leads to is compared with the file's identity before it is believed.

use std::collections::HashMap;

use proto::evidence::name_change::Operation;

/// Names tried for one file.
const CANDIDATES_MAX: usize = 8;
/// Moves followed for one name.
const HOPS_MAX: usize = 64;

#[derive(Debug)]
struct Move {
    at_ns: u64,
    to: Box<[u8]>,
    /// The old name stays.
    link: bool,
}

/// The moves of a session.
#[derive(Debug)]
pub(super) struct Moves {
    by_name: HashMap<Box<[u8]>, Vec<Move>>,
    count: usize,
    max: usize,
    overflowed: bool,
}

impl Moves {
    pub(super) fn new(max: usize) -> Self {
        Self { by_name: HashMap::new(), count: 0, max, overflowed: false }
    }

    /// Notes a move that succeeded; other operations leave no name to follow.
    pub(super) fn note(&mut self, operation: Operation, path: &[u8], target: &[u8], at_ns: u64) {
        match operation {
            Operation::Rename => self.push(path, target, at_ns, false),
            Operation::Link => self.push(path, target, at_ns, true),
            Operation::Exchange => {
                self.push(path, target, at_ns, false);
                self.push(target, path, at_ns, false);
            }
            _ => {}
        }
    }

    fn push(&mut self, from: &[u8], to: &[u8], at_ns: u64, link: bool) {
        if self.count >= self.max {
            self.overflowed = true;
            return;
        }
        self.count += 1;
        self.by_name.entry(plain(from).into()).or_default().push(Move { at_ns, to: plain(to).into(), link });
    }

    /// Every name that something was moved to.
    pub(super) fn targets(&self) -> impl Iterator<Item = &[u8]> {
        self.by_name.values().flatten().map(|moved| &*moved.to)
    }

    /// Whether moves were left out at the limit.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Names under which a file may be found that had this one at a moment; the name itself is not among them.
    pub(super) fn candidates(&self, path: &[u8], since_ns: u64) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut open = vec![(path.to_vec(), since_ns)];
        let mut hops = 0;
        while let Some((name, since)) = open.pop() {
            hops += 1;
            if hops > HOPS_MAX || found.len() >= CANDIDATES_MAX {
                break;
            }
            let moved = self.moved(&name, since);
            let until = moved.as_ref().map_or(u64::MAX, |(_, at)| *at);
            for link in self.of(&name).filter(|link| link.link && link.at_ns > since && link.at_ns <= until) {
                open.push((link.to.to_vec(), link.at_ns));
            }
            match moved {
                Some(next) => open.push(next),
                None if name != path => found.push(name),
                None => {}
            }
        }
        found
    }

    fn of(&self, name: &[u8]) -> impl Iterator<Item = &Move> {
        self.by_name.get(name).into_iter().flatten()
    }

    /// The first rename of a name or of a directory above it after a moment: the new name, and when.
    fn moved(&self, name: &[u8], since_ns: u64) -> Option<(Vec<u8>, u64)> {
        let ends = (1..name.len()).filter(|end| name[*end] == b'/').chain([name.len()]);
        let renames = ends.flat_map(|end| {
            let renames = self.of(&name[..end]).filter(move |rename| !rename.link && rename.at_ns > since_ns);
            renames.map(move |rename| (rename, end))
        });
        let (first, end) = renames.min_by_key(|(rename, _)| rename.at_ns)?;
        Some(([&first.to, &name[end..]].concat(), first.at_ns))
    }
}

/// A path without `..`: what was given goes up a directory. Where that directory is a symbolic link it does not, and the
/// hint is wrong.
pub(super) fn plain(path: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(path.len());
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." {
            let parent = plain.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            plain.truncate(parent);
        } else {
            plain.push(b'/');
            plain.extend_from_slice(name);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(list: &[(Operation, &str, &str, u64)]) -> Moves {
        let mut moves = Moves::new(16);
        for (operation, from, to, at) in list {
            moves.note(*operation, from.as_bytes(), to.as_bytes(), *at);
        }
        moves
    }

    fn names(moves: &Moves, path: &str, since: u64) -> Vec<String> {
        moves.candidates(path.as_bytes(), since).into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn a_rename_is_followed_through_its_directories_in_the_order_of_time() {
        let moves = moves(&[
            (Operation::Rename, "/w/tmp", "/w/part", 10),
            (Operation::Rename, "/w", "/done", 20),
            (Operation::Rename, "/done/part", "/done/whole", 30),
        ]);
        assert_eq!(names(&moves, "/w/tmp", 5), ["/done/whole"]);
        assert_eq!(names(&moves, "/w/other", 5), ["/done/other"]);
    }

    #[test]
    fn a_rename_before_the_access_is_not_followed() {
        let moves = moves(&[(Operation::Rename, "/a", "/b", 10)]);
        assert!(names(&moves, "/a", 10).is_empty());
        assert_eq!(names(&moves, "/a", 9), ["/b"]);
    }

    #[test]
    fn a_sibling_with_the_same_beginning_is_not_moved() {
        let moves = moves(&[(Operation::Rename, "/ab", "/x", 10)]);
        assert!(names(&moves, "/abc", 1).is_empty());
        assert!(names(&moves, "/a", 1).is_empty());
    }

    #[test]
    fn a_link_is_another_name() {
        let moves = moves(&[(Operation::Link, "/tmp_obj", "/obj", 10)]);
        assert_eq!(names(&moves, "/tmp_obj", 5), ["/obj"]);
    }

    #[test]
    fn names_that_go_up_are_followed() {
        let moves = moves(&[(Operation::Rename, "/w/d/../tmp", "/w/d/../../out", 10)]);
        assert_eq!(names(&moves, "/w/tmp", 5), ["/out"]);
        assert_eq!(plain(b"/../../a/./b//c/.."), b"/a/b");
        assert_eq!(plain(b"/.."), b"");
    }

    #[test]
    fn an_exchange_goes_both_ways_once() {
        let moves = moves(&[(Operation::Exchange, "/a", "/b", 10)]);
        assert_eq!(names(&moves, "/a", 5), ["/b"]);
        assert_eq!(names(&moves, "/b", 5), ["/a"]);
    }

    #[test]
    fn removals_leave_no_name() {
        let moves = moves(&[(Operation::Unlink, "/a", "", 10), (Operation::Truncate, "/a", "", 11)]);
        assert!(names(&moves, "/a", 5).is_empty());
    }

    #[test]
    fn one_move_more_than_the_limit_is_said() {
        let mut moves = Moves::new(2);
        moves.note(Operation::Rename, b"/a", b"/b", 1);
        moves.note(Operation::Rename, b"/b", b"/c", 2);
        assert!(!moves.overflowed());
        moves.note(Operation::Rename, b"/c", b"/d", 3);
        assert!(moves.overflowed());
    }

    #[test]
    fn candidates_are_bounded() {
        let mut moves = Moves::new(1000);
        for n in 0..100 {
            moves.note(Operation::Link, b"/a", format!("/l{n}").as_bytes(), n + 1);
        }
        assert_eq!(moves.candidates(b"/a", 0).len(), CANDIDATES_MAX);
    }
}
