//! The initramfs: busybox, the modules of the disks, and a script that hands over to the root file system.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::kernel::KernelFiles;
use crate::command;

const INIT: &str = include_str!("init.sh");
const STAGE2: &str = include_str!("stage2.sh");

/// Writes the initramfs for a kernel below `work`.
pub(super) fn write(kernel: &KernelFiles, work: &Path) -> Result<PathBuf> {
    let tree = work.join("initramfs");
    for dir in ["bin", "modules", "proc", "sys", "dev", "root"] {
        std::fs::create_dir_all(tree.join(dir))?;
    }
    let busybox = command::find("busybox").context("busybox (package busybox-static) is missing")?;
    std::fs::copy(busybox, tree.join("bin/busybox"))?;
    place_program(&tree.join("init"), INIT)?;
    place_program(&tree.join("stage2"), STAGE2)?;
    for (index, module) in kernel.modules.iter().enumerate() {
        place_module(module, &tree.join(format!("modules/{index:02}.ko")))?;
    }
    pack(&tree, &work.join("initramfs.cpio"))
}

fn place_program(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

/// Newer kernels' modules are compressed, and busybox loads them only as they are.
fn place_module(module: &Path, to: &Path) -> Result<()> {
    if module.extension().is_some_and(|ending| ending == "xz") {
        let file = std::fs::File::create(to)?;
        return command::run(Command::new("xz").args(["--decompress", "--stdout"]).arg(module).stdout(file));
    }
    std::fs::copy(module, to).with_context(|| format!("{} cannot be copied", module.display())).map(drop)
}

fn pack(tree: &Path, to: &Path) -> Result<PathBuf> {
    let script = "find . -print0 | cpio --quiet --null --create --format=newc --owner=0:0 >\"$1\"";
    command::quiet(Command::new("sh").current_dir(tree).args(["-c", script, "pack"]).arg(to))?;
    Ok(to.to_path_buf())
}
