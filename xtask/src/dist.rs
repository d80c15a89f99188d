//! `dist`: what is handed out: programs that start on glibc 2.28 and newer, a tarball of them with units and documents, and Debian
//! packages. The same sources and the same tools make the same bytes; times in what is packed are those of the last commit.

mod build;
mod debian;
mod tree;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, place};

/// The oldest C library that the programs are to start with.
const GLIBC: Glibc = Glibc(2, 28);
/// What is handed out.
pub(crate) const PROGRAMS: [&str; 3] = ["testimony", "testimony-verify", "testimony-collector"];
/// The helper that speaks to the TPM. It is built where its library is, for the C library that is there, and comes with the package alone.
const HELPER: &str = "testimony-tpm";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Package the programs of this folder, whatever C library they were built for, in place of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where to [default: dist below the target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// How things are packed.
#[derive(Debug, Clone, Copy)]
struct How {
    /// The time of everything in it.
    epoch: u64,
    /// Whether small.
    packed: bool,
}

/// A version of the C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Glibc(u32, u32);

impl std::fmt::Display for Glibc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = match &args.programs {
        Some(folder) => folder.clone(),
        None => build::for_glibc(GLIBC)?,
    };
    let needed = glibc_of(&programs)?;
    if args.programs.is_none() && needed > GLIBC {
        bail!("the programs ask for glibc {needed}, and are to start with {GLIBC}");
    }
    let out = args.out.clone().unwrap_or_else(|| place::target().join("dist/out"));
    for made in package(&programs, needed, &version(), &out)? {
        println!("{}", made.display());
    }
    println!("they ask for glibc {needed} or newer");
    Ok(())
}

/// The packages that the tests install: of the programs that they test, once as they are and once as if a later version.
pub(crate) fn for_tests(programs: &Path, out: &Path) -> Result<()> {
    let needed = glibc_of(programs)?;
    for (folder, version) in [("now", version()), ("later", format!("{}+later", version()))] {
        let out = out.join(folder);
        let _alone = place::alone_in(&out)?;
        for package in debian::PACKAGES {
            // Nobody waits for what is thrown away to be small.
            package.make(programs, (&version, needed), How { epoch: epoch()?, packed: false }, &out)?;
        }
    }
    Ok(())
}

fn package(programs: &Path, needed: Glibc, version: &str, out: &Path) -> Result<Vec<PathBuf>> {
    let _alone = place::alone_in(out)?;
    let how = How { epoch: epoch()?, packed: true };
    let mut made = Vec::new();
    for package in debian::PACKAGES {
        made.push(package.make(programs, (version, needed), how, out)?);
    }
    made.push(tree::tarball(programs, version, how.epoch, out)?);
    Ok(made)
}

/// The newest symbols of the C library that any of them asks for.
fn glibc_of(programs: &Path) -> Result<Glibc> {
    let mut newest = Glibc(2, 0);
    for program in PROGRAMS {
        let said =
            command::read(Command::new("readelf").args(["--version-info", "--wide"]).arg(programs.join(program)))?;
        let asked = asked(&said).with_context(|| format!("{program} asks for no C library"))?;
        newest = newest.max(asked);
    }
    Ok(newest)
}

/// The newest `GLIBC_2.28` of what readelf says.
fn asked(said: &str) -> Option<Glibc> {
    let versions = said.split("GLIBC_").skip(1).filter_map(|rest| {
        let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = number.split('.').map(str::parse);
        Some(Glibc(parts.next()?.ok()?, parts.next()?.ok()?))
    });
    versions.max()
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The time that is written into what is packed: `SOURCE_DATE_EPOCH`, else that of the last commit.
fn epoch() -> Result<u64> {
    if let Ok(said) = std::env::var("SOURCE_DATE_EPOCH")
        && !said.is_empty()
    {
        return said.parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {said}"));
    }
    let mut git = Command::new("git");
    let said = command::read(git.current_dir(place::root()).args(["log", "-1", "--format=%ct"]))?;
    said.trim().parse().context("git does not say when the last commit was")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_found_by_number() {
        let said = "  0x0010:   Name: GLIBC_2.9  Flags: none\n  Name: GLIBC_2.28 Flags: none\n GLIBC_2.2.5\n GCC_3.0\n";
        assert_eq!(asked(said), Some(Glibc(2, 28)));
        assert_eq!(asked("Name: GLIBC_ABI_DT_RELR\n"), None);
        assert_eq!(asked(""), None);
    }

    /// Programs that print their words, in place of those that are built.
    fn programs(folder: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(folder).unwrap();
        for program in PROGRAMS.into_iter().chain([HELPER]) {
            std::fs::write(folder.join(program), "#!/bin/sh\necho \"$@\"\n").unwrap();
            std::fs::set_permissions(folder.join(program), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
    }

    #[test]
    fn packed_again_it_is_the_same_to_the_byte() {
        let folder = std::env::temp_dir().join(format!("testimony-dist-{}", std::process::id()));
        let how = How { epoch: 1_700_000_000, packed: true };
        let pack = |name: &str| -> Vec<Vec<u8>> {
            let (from, out) = (folder.join(name).join("programs"), folder.join(name).join("out"));
            programs(&from);
            std::fs::create_dir_all(&out).unwrap();
            let debs = debian::PACKAGES.map(|package| package.make(&from, ("1.2.3", GLIBC), how, &out).unwrap());
            let all = debs.into_iter().chain([tree::tarball(&from, "1.2.3", how.epoch, &out).unwrap()]);
            all.map(|file| std::fs::read(file).unwrap()).collect()
        };
        let one = pack("one");
        // Files of another second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let two = pack("two");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(one.len() == 3 && one.iter().all(|file| file.len() > 1000));
        assert!(one == two);
    }
}
