//! The folder of a spool: nobody else may change what is in it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::Path,
};

use crate::Error;

/// Who may write beside its owner.
const OTHERS_WRITE: u32 = 0o022;

pub(crate) fn prepare(folder: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::Folder)?;
    // As it is named: a link at its end could lead anywhere by the next time.
    let about = fs::symlink_metadata(folder).map_err(Error::Folder)?;
    let ours = about.is_dir() && about.uid() == rustix::process::geteuid().as_raw();
    if ours && about.mode() & OTHERS_WRITE == 0 { Ok(()) } else { Err(Error::Others) }
}
