//! `demo`: the whole story in one command. A real build of a crate with all its dependencies is traced, what was seen is
//! shown, the statement is verified, and two forgeries are refused: a byte of the statement, a byte of the evidence.
//! It ends well only if every word of its last line was seen to hold.

mod digests;
mod forgery;
mod places;
pub(crate) mod statement;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{apt, command, ebpf, place, setup};
use statement::Statement;

/// The machine whose dependencies are fetched.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// The crate whose build is traced.
const TRACED_CRATE: &str = "attestation";
/// Lines of each part of the trace that are printed.
const PART_LINES_MAX: usize = 28;

pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    let as_root = apt::prefix_as_root("the demo loads programs into the kernel")?;
    setup::require_tracing_host()?;
    step("Setting up, and building the kernel programs");
    ebpf::build(true)?;
    let programs = started.elapsed();
    step("Building the agent");
    ebpf::build_agent()?;
    let agent = started.elapsed();
    let demo = Demo::fresh()?;
    demo.trace(as_root)?;
    let traced = started.elapsed();
    let statement = Statement::read(&demo.statement())?;
    if !statement.complete() {
        print!("{}", demo.show(&["--gaps"])?);
        bail!("the trace is not complete: the gaps are named above");
    }
    demo.show_trace(&statement)?;
    step("Verifying");
    let verdict = demo.testimony(&["verify", "--key", &demo.public_key()], &demo.statement())?;
    print!("{}", said(&verdict));
    if !verdict.status.success() {
        bail!("the statement was not verified: {}", verdict.status);
    }
    demo.refuse_forgeries()?;
    println!(
        "\nIt took {} s to set up and build the kernel programs, {} s to build the agent, {} s to build while traced, and \
         {} s to show and verify.",
        programs.as_secs(),
        (agent - programs).as_secs(),
        (traced - agent).as_secs(),
        (started.elapsed() - traced).as_secs(),
    );
    println!(
        "demo: {} traced, complete, verified, both forgeries refused, in {} s; outputs are in {}",
        statement.summary(),
        started.elapsed().as_secs(),
        demo.dir.display()
    );
    Ok(())
}

fn step(what: &str) {
    println!("\n== {what}");
}

/// The demo's folder and the programs it uses.
struct Demo {
    dir: PathBuf,
    testimony: PathBuf,
}

impl Demo {
    /// An empty folder, so that the build is cold and the outputs are this run's.
    fn fresh() -> Result<Self> {
        let dir = place::target().join("demo");
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("{} cannot be emptied", dir.display()))?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Demo { dir, testimony: place::target().join("release/testimony") })
    }

    fn statement(&self) -> PathBuf {
        self.dir.join("build.intoto.jsonl")
    }

    fn public_key(&self) -> String {
        self.dir.join("key.pub").display().to_string()
    }

    /// Fetches, which needs the network, and then traces the build, which does not.
    fn trace(&self, as_root: &[&str]) -> Result<()> {
        step("Fetching the dependencies");
        command::run(command::cargo().args(["fetch", "--locked", "--quiet", "--target", HOST]))?;
        step(&format!("Tracing the build of the crate `{TRACED_CRATE}` with all its dependencies"));
        let build = traced_build();
        let mut words: Vec<String> = as_root.iter().map(|word| (*word).to_owned()).collect();
        if !words.is_empty() {
            words.push(format!("PATH={}", std::env::var("PATH").unwrap_or_default()));
        }
        words.push(self.testimony.display().to_string());
        words.extend(["run", "-o"].map(str::to_owned));
        words.push(self.dir.join("build").display().to_string());
        words.extend(["--key".to_owned(), self.dir.join("key").display().to_string(), "--".to_owned()]);
        words.push(build.get_program().to_string_lossy().into_owned());
        words.extend(build.get_args().map(|word| word.to_string_lossy().into_owned()));
        let (program, rest) = words.split_first().context("no command")?;
        let mut run = Command::new(program);
        run.args(rest).current_dir(place::root());
        run.env("CARGO_TARGET_DIR", self.dir.join("target")).env("CARGO_INCREMENTAL", "0");
        // Cargo set it for us; a build that a person starts has none.
        run.env_remove("LD_LIBRARY_PATH");
        command::run(&mut run)
    }

    /// The parts of the trace in the words of `testimony show`, and the shares of the digests.
    fn show_trace(&self, statement: &Statement) -> Result<()> {
        step("What ran");
        shorten(&self.show(&["--tree"])?, "testimony show --tree");
        step("What was read and written");
        print!("{}", places::table(statement)?);
        println!("\nOf these, the crate's own folder, as `testimony show --path` has it:");
        let own = format!("{}/**", place::root().join(TRACED_CRATE).display());
        shorten(&files_only(&self.show(&["--files", "--path", &own])?), "testimony show --files");
        step("Who was contacted");
        shorten(&part(&self.show(&["--network"])?, "Network"), "testimony show --network");
        step("Which digests are stable");
        print!("{}", digests::Shares::of(statement));
        Ok(())
    }

    /// Both forgeries must be refused, and by the status that says so.
    fn refuse_forgeries(&self) -> Result<()> {
        for forgery in forgery::ALL {
            step(&format!("One byte of the {} changed", forgery.what));
            let forged = forgery.make(&self.dir)?;
            let verdict = self.testimony(&["verify", "--key", &self.public_key()], &forged)?;
            print!("{}", said(&verdict));
            if verdict.status.code() != Some(forgery::REFUSED) {
                bail!("a changed byte of the {} was not refused: {}", forgery.what, verdict.status);
            }
            println!("exit status {}", forgery::REFUSED);
        }
        Ok(())
    }

    /// What `testimony show` prints, which it does only if the signature holds.
    fn show(&self, args: &[&str]) -> Result<String> {
        let mut show = Command::new(&self.testimony);
        show.arg("show").args(["--key", &self.public_key()]).args(args).arg(self.statement());
        command::read(&mut show)
    }

    fn testimony(&self, args: &[&str], file: &Path) -> Result<Output> {
        let mut testimony = Command::new(&self.testimony);
        testimony.args(args).arg(file).output().context("testimony did not start")
    }
}

/// Everything is compiled anew, in the order and by the programs of any build, for debugging but without its tables.
fn traced_build() -> Command {
    let mut build = command::cargo();
    build.args(["build", "--offline", "--locked", "--quiet", "--package", TRACED_CRATE]);
    build.args(["--config", "profile.dev.debug=false"]);
    build
}

/// Both outputs of a program, as a terminal would have them.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Prints the first lines, and what shows the rest.
fn shorten(text: &str, whole: &str) {
    text.lines().take(PART_LINES_MAX).for_each(|line| println!("{line}"));
    if let Some(left) = text.lines().count().checked_sub(PART_LINES_MAX).filter(|left| *left > 0) {
        println!("  … {left} more lines: {whole}");
    }
}

/// From the line on that starts with these words.
fn part(text: &str, heading: &str) -> String {
    text.lines().skip_while(|line| !line.starts_with(heading)).map(|line| format!("{line}\n")).collect()
}

/// The list of files, without the changes of names after it.
fn files_only(text: &str) -> String {
    let files = part(text, "Files");
    let lines = files.lines().take_while(|line| !line.starts_with("Name changes"));
    lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{files_only, part};

    #[test]
    fn a_part_starts_at_its_heading() {
        assert_eq!(part("cargo build\n  COMPLETE\n\nNetwork: nobody\n", "Network"), "Network: nobody\n");
        assert_eq!(part("cargo build\n", "Network"), "");
    }

    #[test]
    fn changes_of_names_are_no_files() {
        assert_eq!(files_only("x\nFiles (1)\n  /a\n\nName changes (1)\n  /b\n"), "Files (1)\n  /a\n");
    }
}
