//! What a guest takes along: files and folders of this machine, at the same paths, on a disk made for the run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::guest::Boot;
use super::root::write_ext4;
use crate::{command, place};

/// Room on the disk for what a guest writes beside what was carried.
const FREE_MIB: u64 = 512;

/// The list of what to carry.
#[derive(Default)]
pub(super) struct Load {
    /// Files of the work tree, from its root.
    work_tree: Vec<PathBuf>,
    /// Everything else, absolute.
    paths: Vec<PathBuf>,
}

impl Load {
    /// The work tree as git sees it, without what is ignored, so that tests find their data.
    pub(super) fn work_tree(&mut self) -> Result<()> {
        let mut list = Command::new("git");
        list.current_dir(place::root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let files = command::read(&mut list)?;
        self.work_tree.extend(files.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from));
        Ok(())
    }

    /// A file or folder; one inside the work tree joins the tree.
    pub(super) fn path(&mut self, path: &Path) -> Result<()> {
        if !path.exists() {
            bail!("{} cannot be carried into the guest: it does not exist", path.display());
        }
        match path.strip_prefix(place::root()) {
            Ok(inside) => self.work_tree.push(inside.to_path_buf()),
            Err(_) => self.paths.push(path.to_path_buf()),
        }
        Ok(())
    }

    /// Writes the disk: numbered folders and files, a list of where each belongs, and what to run.
    pub(super) fn write_disk(&self, work: &Path, boot: &Boot) -> Result<PathBuf> {
        let stage = work.join("stage");
        let root = place::root();
        let tree = stage.join("0");
        std::fs::create_dir_all(&tree)?;
        for file in &self.work_tree {
            copy(&root.join(file), &tree.join(file))?;
        }
        let mut list = format!("0\n{}\n", text(&root)?);
        for (path, number) in self.paths.iter().zip(1..) {
            copy(path, &stage.join(number.to_string()))?;
            list += &format!("{number}\n{}\n", text(path)?);
        }
        std::fs::write(stage.join("list"), list)?;
        match boot {
            Boot::Shell => std::fs::write(stage.join("shell"), "")?,
            Boot::Command { command, environment } => {
                std::fs::write(stage.join("command"), script(command, environment)?)?;
            }
        }
        let disk = work.join("carried.ext4");
        write_ext4(&stage, &disk, FREE_MIB)?;
        Ok(disk)
    }
}

/// Copies files and whole folders; a file that git still lists but that is gone is left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.symlink_metadata().is_err() {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut copy = Command::new("cp");
    command::quiet(copy.args(["--archive", "--reflink=auto", "--no-target-directory"]).arg(from).arg(to))
}

/// The command as a script, in the work tree.
fn script(command: &[String], environment: &[(String, String)]) -> Result<String> {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    let exports: String =
        environment.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    Ok(format!("cd {} || exit 125\n{exports}exec {}\n", quoted(text(&place::root())?), words.join(" ")))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn text(path: &Path) -> Result<&str> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    if text.contains('\n') {
        bail!("{} has a line end in it", path.display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{Load, quoted, text};
    use std::path::Path;

    #[test]
    fn a_quote_in_a_word_stays_one_word() {
        assert_eq!(quoted("a'b $c"), r"'a'\''b $c'");
    }

    #[test]
    fn a_path_that_would_break_the_list_is_refused() {
        assert!(text(Path::new("/a\nb")).is_err());
    }

    #[test]
    fn what_does_not_exist_is_not_carried() {
        assert!(Load::default().path(Path::new("/does/not/exist")).is_err());
    }
}
