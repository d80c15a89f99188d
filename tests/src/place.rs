//! Where things are: the programs under test, tools they need, and scratch folders on a real file system.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The root of the work tree.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Cargo's target folder.
#[must_use]
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

fn program(variable: &str, name: &str) -> PathBuf {
    let path = env::var_os(variable).map_or_else(|| target().join("release").join(name), PathBuf::from);
    assert!(path.is_file(), "{} is missing: build it, or say where it is by {variable}", path.display());
    path
}

/// The `testimony` under test: `TESTIMONY_BIN`, else the release build.
#[must_use]
pub fn binary() -> PathBuf {
    program("TESTIMONY_BIN", "testimony")
}

/// The `testimony-verify` under test: `TESTIMONY_VERIFY_BIN`, else the release build.
#[must_use]
pub fn verifier() -> PathBuf {
    program("TESTIMONY_VERIFY_BIN", "testimony-verify")
}

/// The `testimony-tpm` under test: `TESTIMONY_TPM_BIN`, else the release build.
#[must_use]
pub fn tpm_helper() -> PathBuf {
    program("TESTIMONY_TPM_BIN", "testimony-tpm")
}

/// The `testimony-collector` under test: `TESTIMONY_COLLECTOR_BIN`, else the release build.
#[must_use]
pub fn collector() -> PathBuf {
    program("TESTIMONY_COLLECTOR_BIN", "testimony-collector")
}

/// The kernel of the matrix that this guest runs, or `host`.
#[must_use]
pub fn kernel() -> String {
    env::var("TESTIMONY_KERNEL").unwrap_or_else(|_| "host".to_owned())
}

/// Where a program that a test needs is. A missing one fails the test: nothing is skipped in silence.
#[must_use]
pub fn need(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("this test needs `{program}`: run `cargo xtask setup tests`"))
}

/// Fails a test that cannot do without root.
pub fn need_root() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root: run it by `cargo xtask test` or under sudo");
}

/// Where scratch folders are: on a disk, unlike /tmp, and where every user may enter, unlike a work tree in root's home.
const SCRATCH: &str = "/var/tmp";

/// A folder of one test's own.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes it.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("testimony-end-to-end-").tempdir_in(SCRATCH);
        Self(folder.unwrap_or_else(|error| panic!("no scratch folder in {SCRATCH}: {error}")))
    }

    /// Where it is, without symbolic links.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap_or_else(|error| panic!("{}: {error}", self.0.path().display()))
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// A file in it with this content.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A new folder in it.
    pub fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A program that `cargo xtask setup tests` built, by its path among the tools.
///
/// # Panics
/// If it was not.
#[must_use]
pub fn tool(path: &str) -> PathBuf {
    let tools = env::var_os("TESTIMONY_TOOLS").map_or_else(|| target().join("tools"), PathBuf::from);
    let path = tools.join(path);
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup tests`", path.display());
    path
}
