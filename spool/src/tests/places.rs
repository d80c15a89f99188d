//! Folders and files that are used, and those that are not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rusqlite::Connection;

use super::{Scene, numbers, put};
use crate::{Error, Kind, database};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn folder_and_files_are_their_owners_alone() {
    let scene = Scene::new();
    let mut spool = scene.open();
    put(&mut spool, "a", 10).unwrap();
    assert_eq!(mode(&scene.folder()), 0o700);
    for name in ["spool.db", "spool.db-wal", "spool.db-shm"] {
        assert_eq!(mode(&scene.folder().join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let scene = Scene::new();
    drop(scene.open());
    for bad in [0o720, 0o702] {
        set_mode(&scene.folder(), bad);
        assert!(matches!(scene.refusal(), Error::Exposed { .. }), "{bad:o}");
    }
    // It may be one that others look into: its files are not theirs to read.
    set_mode(&scene.folder(), 0o755);
    drop(scene.open());
}

#[test]
fn a_file_that_is_open_to_others_or_linked_or_no_file_is_refused() {
    for name in ["spool.db", "spool.db-wal", "spool.db-shm"] {
        let scene = Scene::new();
        let _spool = scene.open();
        let (file, other) = (scene.folder().join(name), scene.above.path().join("other"));
        set_mode(&file, 0o640);
        assert!(matches!(scene.refusal(), Error::Exposed { .. }), "{name}");
        set_mode(&file, 0o600);
        fs::hard_link(&file, &other).unwrap();
        assert!(matches!(scene.refusal(), Error::Exposed { .. }), "{name}");
        fs::remove_file(&file).unwrap();
        symlink(&other, &file).unwrap();
        assert!(matches!(scene.refusal(), Error::Exposed { .. }), "{name}");
    }
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    assert!(rustix::process::geteuid().is_root(), "needs root, to give a file to another user");
    let scene = Scene::new();
    drop(scene.open());
    let file = scene.folder().join("spool.db");
    chown(&file, Some(65534), None).unwrap();
    assert!(matches!(scene.refusal(), Error::Exposed { why: "belongs to another user", .. }));
    chown(&file, Some(0), None).unwrap();
    chown(scene.folder(), Some(65534), None).unwrap();
    assert!(matches!(scene.refusal(), Error::Exposed { why: "belongs to another user", .. }));
}

#[test]
fn a_link_in_the_place_of_the_folder_is_not_followed_and_one_before_it_is() {
    let scene = Scene::new();
    drop(scene.open());
    let above = scene.above.path();
    symlink(scene.folder(), above.join("link")).unwrap();
    assert!(matches!(scene.refusal_of(&above.join("link")), Error::Place { .. }));
    symlink(above, above.join("before")).unwrap();
    drop(crate::Spool::open(&above.join("before/spool"), super::limits()).unwrap());
    assert!(matches!(scene.refusal_of(&above.join("missing/spool")), Error::Place { .. }));
}

#[test]
fn a_database_that_is_replaced_or_moved_is_no_longer_used() {
    let scene = Scene::new();
    let (folder, away) = (scene.folder(), scene.above.path().join("away"));
    let mut spool = scene.open();
    put(&mut spool, "a", 10).unwrap();
    fs::rename(&folder, &away).unwrap();
    assert!(matches!(put(&mut spool, "b", 10), Err(Error::Replaced(_))));
    let mut new = scene.open();
    assert!(matches!(spool.waiting(0, 0), Err(Error::Replaced(_))));
    assert_eq!(put(&mut new, "b", 10).unwrap(), 1);
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    // The same file at the same name is the same spool.
    assert_eq!(numbers(&spool), [1]);
    fs::remove_file(folder.join("spool.db")).unwrap();
    assert!(matches!(spool.state(), Err(Error::Replaced(_))));
}

/// A closed spool whose database was changed by a statement.
fn changed(sql: &str) -> Scene {
    let scene = Scene::new();
    let mut spool = scene.open();
    for name in ["a", "b", "c"] {
        put(&mut spool, name, 10_000).unwrap();
    }
    spool.acknowledge(1, b"receipt", 1).unwrap();
    spool.refuse(2, "code", "says", 1).unwrap();
    drop(spool);
    Connection::open(scene.folder().join("spool.db")).unwrap().execute_batch(sql).unwrap();
    scene
}

#[test]
fn a_later_format_is_refused_with_a_sentence() {
    let error = changed("PRAGMA user_version = 3").refusal();
    assert!(matches!(error, Error::Newer { found: 3, known: database::FORMAT }));
    assert!(error.to_string().contains("use the version that wrote it"), "{error}");
}

#[test]
fn databases_of_something_else_and_formats_that_never_were_are_refused() {
    assert!(matches!(changed("PRAGMA application_id = 7").refusal(), Error::Foreign(_)));
    assert!(matches!(changed("PRAGMA application_id = 0").refusal(), Error::Foreign(_)));
    assert!(matches!(changed("PRAGMA application_id = 0; PRAGMA user_version = 0").refusal(), Error::Foreign(_)));
    assert!(matches!(changed("PRAGMA user_version = 0").refusal(), Error::Damaged { .. }));
    let scene = changed("");
    fs::write(scene.folder().join("spool.db"), "no database, but text that is longer than a header would be".repeat(9))
        .unwrap();
    assert!(matches!(scene.refusal(), Error::Damaged { .. }));
}

#[test]
fn tables_that_are_not_what_the_account_says_are_refused() {
    for sql in [
        "DELETE FROM waiting",
        "DELETE FROM receipts",
        "UPDATE refused SET number = 7",
        "UPDATE account SET newest = newest + 1",
        "UPDATE account SET dropped_full = dropped_full + 1",
        "UPDATE account SET spool = x'00'",
        "DELETE FROM account",
        "DROP TABLE refused",
    ] {
        let error = changed(sql).refusal();
        assert!(matches!(error, Error::Damaged { .. }), "{sql}: {error:?}");
    }
}

#[test]
fn rows_that_are_not_what_was_put_are_not_given_out() {
    let sha256 = super::item("a", &[0; 10_000]).sha256;
    for sql in [
        "UPDATE waiting SET name = 'b'",
        "UPDATE waiting SET kind = 'nothing'",
        "UPDATE waiting SET evidence = x''",
        "UPDATE waiting SET made_s = made_s + 1",
        "UPDATE envelopes SET envelope = x'00'",
        "DELETE FROM envelopes",
    ] {
        let error = changed(sql).open().waiting(0, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{sql}: {error:?}");
    }
    let error = changed("UPDATE receipts SET receipt = x'00'").open().receipt_of(Kind::Statement, &sha256).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }));
    let error = changed("UPDATE refused SET says = ''").open().refused().unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }));
    let error = changed("UPDATE envelopes SET envelope = x'00'").open().refused_envelope(2).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }));
}

#[test]
fn who_holds_the_spool_is_waited_for_but_not_for_ever() {
    let scene = Scene::new();
    let mut spool = scene.open();
    let other = Connection::open(scene.folder().join("spool.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(put(&mut spool, "a", 1), Err(Error::Busy)));
    other.execute_batch("ROLLBACK").unwrap();
    put(&mut spool, "a", 1).unwrap();
}
