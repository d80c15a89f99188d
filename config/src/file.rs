//! The file that a configuration is read from.

use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use serde::de::DeserializeOwned;

use crate::{FILE_BYTES_MAX, Refused, Validate, document::too_large, parse};

/// Bits of a file's mode that let others than its owner write.
const OTHERS_WRITE: u32 = 0o022;

/// The configuration in a file.
///
/// # Errors
/// If it cannot be read, others than its owner may write it, or it has faults: all of them.
pub fn read<T: DeserializeOwned + Validate>(path: &Path) -> Result<T, Refused> {
    let name = path.display().to_string();
    let text = text(path).map_err(|says| Refused::whole(&name, says))?;
    let text = String::from_utf8(text).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let mut refused = Refused::whole(&name, "it is not UTF-8");
        let line = 1 + error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
        refused.faults.iter_mut().for_each(|fault| fault.line = u32::try_from(line).ok());
        refused
    })?;
    parse(&name, &text)
}

fn text(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error| format!("it cannot be read: {error}");
    // Whoever names a pipe is told so, and not waited for.
    if !path.metadata().map_err(cannot)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = File::open(path).map_err(cannot)?;
    // Of what was opened, which may be another by now.
    let about = file.metadata().map_err(cannot)?;
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    let mode = about.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(format!("others than its owner may write it (mode {mode:03o}): take that from them, `chmod go-w`"));
    }
    let mut text = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut text).map_err(cannot)?;
    if text.len() > FILE_BYTES_MAX { Err(too_large()) } else { Ok(text) }
}
