//! The files of a run, by the name it was given: NAME.intoto.jsonl, NAME.intoto.jsonl.part and NAME.evidence.

use std::path::{Path, PathBuf};

const QUOTE: &str = ".quote.intoto.jsonl";
const STATEMENT: &str = ".intoto.jsonl";
const EVIDENCE: &str = ".evidence";
const UNFINISHED: &str = ".intoto.jsonl.part";

/// What a run's outputs are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    name: PathBuf,
}

impl Artifact {
    /// By NAME, or by any of the files that carry it.
    pub(crate) fn of(path: &Path) -> Self {
        // A directory may be given with a slash at its end.
        let plain: PathBuf = path.components().collect();
        let text = plain.as_os_str().as_encoded_bytes();
        let cut = [UNFINISHED, QUOTE, STATEMENT, EVIDENCE].iter().find_map(|suffix| {
            let name = text.strip_suffix(suffix.as_bytes())?;
            (!name.is_empty() && !name.ends_with(b"/")).then_some(name)
        });
        match cut {
            Some(name) => {
                use std::os::unix::ffi::OsStrExt as _;
                Self { name: std::ffi::OsStr::from_bytes(name).into() }
            }
            None => Self { name: plain },
        }
    }

    /// NAME.intoto.jsonl
    pub(crate) fn statement(&self) -> PathBuf {
        self.with(STATEMENT)
    }

    /// NAME.evidence
    pub(crate) fn evidence(&self) -> PathBuf {
        self.with(EVIDENCE)
    }

    /// What stands beside the statement, by what follows the name.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        self.with(suffix)
    }

    /// NAME.pack.tar
    pub(crate) fn pack(&self) -> PathBuf {
        self.with(".pack.tar")
    }

    /// NAME.intoto.jsonl.part
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.with(UNFINISHED)
    }

    fn with(&self, suffix: &str) -> PathBuf {
        let mut path = self.name.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_run_leads_to_its_name() {
        for path in ["d/r1", "d/r1.evidence", "d/r1.evidence/", "d/r1.intoto.jsonl", "d/r1.intoto.jsonl.part"] {
            let artifact = Artifact::of(Path::new(path));
            assert_eq!(artifact.name, Path::new("d/r1"), "{path}");
            assert_eq!(artifact.evidence(), Path::new("d/r1.evidence"));
        }
    }

    #[test]
    fn a_suffix_alone_is_a_name() {
        assert_eq!(Artifact::of(Path::new("d/.evidence")).name, Path::new("d/.evidence"));
        assert_eq!(Artifact::of(Path::new(".evidence")).name, Path::new(".evidence"));
    }
}
