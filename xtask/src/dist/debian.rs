//! Debian packages, by dpkg-deb alone: what stands where, and the scripts of systemd/deb.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::tree::{Source, fresh, lay};
use super::{Glibc, HELPER, How};
use crate::{command, place};

/// A package.
pub(super) struct Package {
    name: &'static str,
    files: &'static [(Source, &'static str)],
    /// Folders that are there for its users' files, and who may look into them.
    folders: &'static [(&'static str, u32)],
    /// Files that the user may have changed.
    kept: &'static [&'static str],
}

const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

pub(super) const PACKAGES: [Package; 2] = [
    Package {
        name: "testimony",
        files: &[
            (Source::Program("testimony"), "usr/bin/testimony"),
            (Source::Program("testimony-verify"), "usr/bin/testimony-verify"),
            (Source::Program(HELPER), "usr/bin/testimony-tpm"),
            (Source::File("systemd/testimony-agent.service"), "usr/lib/systemd/system/testimony-agent.service"),
            (Source::File("systemd/testimony.sysusers"), "usr/lib/sysusers.d/testimony.conf"),
            (Source::File("systemd/agent.toml.example"), "etc/testimony/agent.toml.example"),
            (Source::Printed("testimony", &["man"]), "usr/share/man/man1/testimony.1"),
            (Source::Printed("testimony", &["completions", "bash"]), "usr/share/bash-completion/completions/testimony"),
            (Source::Printed("testimony", &["completions", "zsh"]), "usr/share/zsh/vendor-completions/_testimony"),
            (
                Source::Printed("testimony", &["completions", "fish"]),
                "usr/share/fish/vendor_completions.d/testimony.fish",
            ),
            (Source::File("docs/cli.md"), "usr/share/doc/testimony/cli.md"),
            (Source::File("docs/format.md"), "usr/share/doc/testimony/format.md"),
            (Source::File("docs/threats.md"), "usr/share/doc/testimony/threats.md"),
            (Source::File("systemd/README.md"), "usr/share/doc/testimony/hardening.md"),
            (Source::File("CHANGELOG.md"), "usr/share/doc/testimony/changelog.md"),
            (Source::File("systemd/deb/copyright"), "usr/share/doc/testimony/copyright"),
        ],
        folders: &[("etc/testimony/agent", 0o700)],
        kept: &["/etc/testimony/agent.toml.example"],
    },
    Package {
        name: "testimony-collector",
        files: &[
            (Source::Program("testimony-collector"), "usr/bin/testimony-collector"),
            (Source::File("systemd/testimony-collector.service"), "usr/lib/systemd/system/testimony-collector.service"),
            (Source::File("systemd/testimony-collector.sysusers"), "usr/lib/sysusers.d/testimony-collector.conf"),
            (Source::File("systemd/collector.toml.example"), "etc/testimony/collector.toml.example"),
            (Source::File("docs/cli.md"), "usr/share/doc/testimony-collector/cli.md"),
            (Source::File("systemd/README.md"), "usr/share/doc/testimony-collector/hardening.md"),
            (Source::File("CHANGELOG.md"), "usr/share/doc/testimony-collector/changelog.md"),
            (Source::File("systemd/deb/copyright"), "usr/share/doc/testimony-collector/copyright"),
        ],
        // What is secret in it has a mode of its own; the collector's user looks into it.
        folders: &[("etc/testimony/collector", 0o755)],
        kept: &["/etc/testimony/collector.toml.example"],
    },
];

impl Package {
    /// Makes it; the same bytes for the same programs, version and time.
    pub(super) fn make(
        &self,
        programs: &Path,
        (version, needed): (&str, Glibc),
        how: How,
        out: &Path,
    ) -> Result<PathBuf> {
        let tree = out.join("tree").join(self.name);
        fresh(&tree)?;
        for (source, to) in self.files {
            lay(programs, source, &tree.join(to))?;
        }
        for (folder, mode) in self.folders {
            fs::create_dir_all(tree.join(folder))?;
            fs::set_permissions(tree.join(folder), fs::Permissions::from_mode(*mode))?;
        }
        self.control(&tree, version, needed)?;
        let deb = out.join(format!("{}_{version}_amd64.deb", self.name));
        let mut build = Command::new("dpkg-deb");
        build
            .args(["--root-owner-group", "--threads-max=1", if how.packed { "-Zxz" } else { "-Znone" }, "--build"])
            .arg(&tree)
            .arg(&deb);
        command::quiet(build.env("SOURCE_DATE_EPOCH", how.epoch.to_string()))?;
        fs::remove_dir_all(out.join("tree"))?;
        Ok(deb)
    }

    fn control(&self, tree: &Path, version: &str, needed: Glibc) -> Result<()> {
        let from = place::root().join("systemd/deb").join(self.name);
        let to = tree.join("DEBIAN");
        fs::create_dir_all(&to)?;
        let control = fs::read_to_string(from.join("control")).with_context(|| from.display().to_string())?;
        let control = control.replace("VERSION", version).replace("GLIBC", &needed.to_string());
        fs::write(to.join("control"), control)?;
        fs::write(to.join("conffiles"), self.kept.iter().map(|file| format!("{file}\n")).collect::<String>())?;
        for script in SCRIPTS {
            fs::copy(from.join(script), to.join(script))?;
            fs::set_permissions(to.join(script), fs::Permissions::from_mode(0o755))?;
        }
        open_to_all(tree)
    }
}

/// Folders are as others may see them, whatever the umask; those with a mode of their own are left.
fn open_to_all(folder: &Path) -> Result<()> {
    let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
    if mode != 0o700 || folder.ends_with("DEBIAN") {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_to_all(&entry.path())?;
        }
    }
    Ok(())
}
