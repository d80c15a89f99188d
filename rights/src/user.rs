//! Whose rights: root lays his down for those of whom a folder belongs to.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    fs::{Gid, Uid},
    process::geteuid,
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// Whether the kernel calls us root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Where root is asked for something that belongs to another user, he becomes that user: what he would leave there could not be read
/// by it. For a program of one thread; returns whether he did.
///
/// # Errors
/// If he cannot.
pub fn become_owner(folder: &Path) -> io::Result<bool> {
    let owner = match fs::metadata(folder) {
        Ok(metadata) => (metadata.uid(), metadata.gid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !is_root() || owner.0 == 0 {
        return Ok(false);
    }
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::chown, thread};

    use super::*;

    #[test]
    fn root_becomes_whom_a_folder_belongs_to_and_nobody_else_becomes_anybody() {
        let (own, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(is_root(), "this test needs root: run it by `cargo xtask test` or under sudo");
        chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
        thread::scope(|scope| {
            let body = || {
                assert!(!become_owner(own.path()).unwrap() && is_root());
                assert!(!become_owner(&own.path().join("none")).unwrap() && is_root());
                assert!(become_owner(folder.path()).unwrap());
                assert_eq!(geteuid().as_raw(), 65_534);
                assert!(set_thread_res_uid(Uid::ROOT, None, None).is_err());
            };
            scope.spawn(body).join().unwrap();
        });
    }
}
