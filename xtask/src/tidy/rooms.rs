//! The flow is one way: a room of the agent imports only from the rooms before it. The table is the whole rule.

use super::{Fault, File, paths, source};

/// Each room of `agent/src` and the rooms it may import from, in the order of the flow.
const ROOMS: &[(&str, &[&str])] = &[
    // Patterns of paths, for whoever is given one.
    ("glob", &[]),
    // What is left out before anything is written.
    ("redact", &[]),
    ("probe", &[]),
    ("decode", &["probe"]),
    ("content", &["glob", "probe", "decode"]),
    // The writer of the log: it knows frames and none of the rooms that make them.
    ("evidence", &[]),
    ("session", &["redact", "probe", "decode", "content", "evidence"]),
    ("trace", &["evidence"]),
    // Who the agent is, by the word of others.
    ("identity", &[]),
    // When it signed, by the word of others.
    ("timestamp", &[]),
    // The machine, by the word of its TPM.
    ("tpm", &[]),
    ("seal", &["tpm"]),
    // Who signs by a key of the moment, by the word of Sigstore's services.
    ("keyless", &["timestamp"]),
    ("sign", &["trace", "identity", "timestamp", "tpm"]),
    // Delivers what was signed. The queue between is a crate of its own.
    ("ship", &[]),
];

/// What stands above the flow and puts it together: it may import from every room, and no room from it.
const ABOVE: &[&str] = &[
    "main",
    "cli",
    "run",
    "artifact",
    "canary",
    "chain",
    "show",
    "recover",
    "explain",
    "doctor",
    "keygen",
    "pack",
    "stamp",
    "enrol",
    "daemon",
    "spooled",
    "platform",
    "cgroup",
    "container",
    "watch",
    "control",
    "sessions",
    "submission",
    "waiting",
];

const RULES: &str = "xtask/src/tidy/rooms.rs";

/// The imports of a file of the agent that go against the flow.
pub(super) fn check(file: &File) -> Vec<Fault> {
    let Some(room) = room(&file.path) else { return Vec::new() };
    if ABOVE.contains(&room) {
        return Vec::new();
    }
    let Some(allowed) = allowed(room) else {
        return vec![Fault::new(&file.path, 1, format!("the room `{room}` is not in the table of {RULES}"))];
    };
    let code = source::code(&file.text);
    let fault = |named: paths::Named| {
        let other = named.path.iter().find(|word| !["crate", "super", "self"].contains(&word.as_str()))?;
        let from_root = named.is_below("crate") || (named.is_below("super") && is_room(other));
        let against = from_root && is_room(other) && other != room && !allowed.contains(&other.as_str());
        against.then(|| Fault::new(&file.path, named.line, format!("`{room}` may not import from `{other}` ({RULES})")))
    };
    paths::named(&code).into_iter().filter_map(fault).collect()
}

/// `agent/src/ROOM.rs` and everything below `agent/src/ROOM/` are one room.
fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("agent/src/")?;
    match inside.split_once('/') {
        Some((room, _)) => Some(room),
        None => inside.strip_suffix(".rs"),
    }
}

fn allowed(room: &str) -> Option<&'static [&'static str]> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed)
}

fn is_room(name: &str) -> bool {
    allowed(name).is_some() || ABOVE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::{ABOVE, File, ROOMS, check};

    fn faults(path: &str, text: &str) -> Vec<String> {
        check(&File { path: path.to_owned(), text: text.to_owned() }).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_table_runs_one_way() {
        for (index, (room, allowed)) in ROOMS.iter().enumerate() {
            for other in *allowed {
                let before = ROOMS[..index].iter().any(|(name, _)| name == other);
                assert!(before, "{room} imports from {other}, which does not stand before it");
            }
            assert!(!ABOVE.contains(room), "{room} is both in and above the flow");
        }
    }

    #[test]
    fn an_import_with_the_flow_is_allowed() {
        assert!(faults("agent/src/decode.rs", "use crate::probe::Record;").is_empty());
        assert!(faults("agent/src/session/tree.rs", "use super::Session; use crate::decode::Event;").is_empty());
    }

    #[test]
    fn an_import_against_the_flow_is_refused_with_its_line() {
        let found = faults("agent/src/probe/ring.rs", "//! x\nuse crate::{\n  probe::Record,\n  session::Id,\n};");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("agent/src/probe/ring.rs:4: `probe` may not import from `session`"), "{found:?}");
    }

    #[test]
    fn a_path_in_code_counts_as_an_import() {
        assert_eq!(faults("agent/src/decode.rs", "fn f() { crate::trace::fold() }").len(), 1);
        assert_eq!(faults("agent/src/decode.rs", "fn f() { super::trace::fold() }").len(), 1);
        assert_eq!(faults("agent/src/decode/a.rs", "use super::super::{trace, probe};").len(), 1);
    }

    #[test]
    fn no_room_imports_from_above_the_flow() {
        assert_eq!(faults("agent/src/sign.rs", "use crate::cli::Args;").len(), 1);
    }

    #[test]
    fn what_stands_above_imports_what_it_likes() {
        assert!(faults("agent/src/main.rs", "use crate::ship::Ship; use crate::probe::Probe;").is_empty());
    }

    #[test]
    fn a_room_outside_the_table_is_refused() {
        assert_eq!(faults("agent/src/kitchen.rs", "").len(), 1);
    }

    #[test]
    fn comments_and_other_crates_are_no_imports() {
        assert!(faults("agent/src/probe.rs", "// crate::session\nuse other::session::X;").is_empty());
        assert!(faults("attestation/src/dsse.rs", "use crate::trace::X;").is_empty());
    }
}
