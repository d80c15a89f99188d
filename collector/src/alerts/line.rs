//! Lines of JSON, to the standard output or at the end of a file.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Writes a line to the standard output.
pub(super) fn stdout(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a line at the end of a file, which is opened anew each time: whoever rotates it need tell nobody.
pub(super) fn file(path: &Path, line: &str) -> io::Result<()> {
    // A pipe without a reader holds nobody up.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nonblocking).open(path)?;
    // In one piece: a line that is cut is none.
    file.write_all(format!("{line}\n").as_bytes())?;
    match file.sync_data() {
        // What is no file on a disk cannot be forced to one.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}
