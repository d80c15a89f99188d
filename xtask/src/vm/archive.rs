//! Debian's archive beyond the suites this machine is set up for: an apt configuration of our own, with lists of its
//! own, so that the system's stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{apt, command, place};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How old package lists may be before they are fetched again.
const LISTS_AGE_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// An apt that knows the suites it is given and no others.
pub(crate) struct Archive {
    config: PathBuf,
}

impl Archive {
    /// Writes the configuration and fetches the lists, unless they are fresh.
    pub(crate) fn open(name: &str, sources: &[String]) -> Result<Self> {
        let dir = place::guests().join("apt").join(name);
        let _alone = place::alone_in(&dir)?;
        for below in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(dir.join(below))?;
        }
        let list = dir.join("sources.list");
        let config = dir.join("apt.conf");
        let lines: String = sources.iter().map(|source| format!("{source}\n")).collect();
        let same = std::fs::read_to_string(&list).is_ok_and(|old| old == lines);
        std::fs::write(&list, lines)?;
        std::fs::write(&config, configuration(&dir))?;
        let archive = Archive { config };
        let fetched = dir.join("fetched");
        if !(same && is_fresh(&fetched)) {
            println!("package lists: fetching those of {name} into {}.", dir.display());
            command::quiet(archive.apt("apt-get").arg("update"))?;
            std::fs::write(&fetched, "")?;
        }
        Ok(archive)
    }

    /// `apt-get`, `apt-cache` and the like, with this configuration.
    pub(crate) fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config);
        command
    }

    /// Every package whose name starts so.
    pub(crate) fn names(&self, start: &str) -> Result<Vec<String>> {
        let names = command::read(self.apt("apt-cache").args(["pkgnames", start]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The packages that this one depends on.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let said = command::read(self.apt("apt-cache").args(["depends", package]))?;
        Ok(said.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned).collect())
    }
}

fn is_fresh(stamp: &Path) -> bool {
    let written = stamp.metadata().and_then(|meta| meta.modified()).ok();
    written.and_then(|at| at.elapsed().ok()).is_some_and(|age| age < LISTS_AGE_MAX)
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::State::lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::Check-Valid-Until \"false\";\n"
    )
}

/// A line of sources.list for a suite, on the mirror that the system itself uses.
pub(crate) fn source(suite: &str) -> Result<String> {
    let security = suite.ends_with("-security");
    let uri = mirror(security)?;
    Ok(format!("deb [signed-by={KEYRING}] {uri} {suite} main"))
}

/// The mirror of this machine's own Debian, found in apt's configuration.
fn mirror(security: bool) -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]);
    let said = command::read(&mut targets)?;
    let is_wanted = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        matches!(words.as_slice(), [_, release, "main"] if security == release.contains("-security"))
    };
    let line = said.lines().find(is_wanted).context("apt is configured with no Debian mirror")?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

/// The name of this machine's Debian release.
pub(crate) fn codename() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no release: guests are made on Debian")?.to_owned())
}

/// Installs qemu from the release's backports, whose version in Debian 12 itself is too old.
pub(crate) fn install_qemu() -> Result<()> {
    let release = codename()?;
    let suites = [release.clone(), format!("{release}-security"), format!("{release}-backports")];
    let sources = suites.iter().map(|suite| source(suite)).collect::<Result<Vec<_>>>()?;
    let archive = Archive::open("qemu", &sources)?;
    let packages = ["qemu-system-x86".to_owned()];
    println!("emulator of the VM tests: installing qemu-system-x86 from {release}-backports.");
    let mut install = apt::as_root("env", "emulator of the VM tests", &packages)?;
    install
        .arg(format!("APT_CONFIG={}", archive.config.display()))
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"])
        .args(["--target-release", &format!("{release}-backports")])
        .args(packages);
    command::quiet(&mut install)
}
