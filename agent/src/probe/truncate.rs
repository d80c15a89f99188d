//! truncate(2), which has no safe wrapper: the one way to cut a file without opening it.
#![expect(unsafe_code, reason = "truncate has no safe wrapper")]

use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path};

/// Gives a file another size by its name.
pub fn truncate(path: &Path, bytes: i64) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with a NUL and lives through the call.
    let answer = unsafe { libc::truncate(path.as_ptr(), bytes) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
