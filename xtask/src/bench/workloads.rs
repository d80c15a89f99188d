//! What is measured, and everything it needs: programs compiled, files made, a C library generated.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::subject::Subject;
use super::watch;
use crate::{command, place};

/// The file of the C library whose CPU time tells how many files make the library.
const CALIBRATION_FILE: usize = 0;
/// Functions in a file of the C library.
const FUNCTIONS: usize = 12;
/// Processors that `make -j2` keeps busy.
const JOBS: f64 = 2.0;
/// Files in a folder, as `opens` finds them.
const FOLDER_FILES: usize = 1000;

/// A command whose own time is measured.
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    /// Who traces it.
    pub(super) tracers: Vec<Subject>,
    /// The ratio to bare that Testimony is to keep.
    pub(super) goal: Option<f64>,
    /// How many run at once, each in a session of its own.
    pub(super) at_once: usize,
    /// Whether it runs beside a session instead of inside.
    pub(super) outside: bool,
    /// What it makes, removed before each time.
    pub(super) makes: Option<PathBuf>,
    /// Rounds for each round of the longest workload.
    pub(super) weight: usize,
}

/// How much work there is.
pub(super) struct Sizes {
    pub(super) compile_s: f64,
    pub(super) opens: usize,
    pub(super) execs: usize,
    pub(super) at_once: usize,
}

impl Sizes {
    pub(super) const FULL: Sizes = Sizes { compile_s: 11.0, opens: 100_000, execs: 1000, at_once: 8 };
    pub(super) const QUICK: Sizes = Sizes { compile_s: 1.0, opens: 20_000, execs: 100, at_once: 8 };
}

/// The folder of the benchmark and the programs it measures with.
pub(super) struct Bench {
    pub(super) dir: PathBuf,
    pub(super) testimony: PathBuf,
    pub(super) stopwatch: PathBuf,
    pub(super) opens: PathBuf,
}

impl Bench {
    /// An empty folder with the programs.
    pub(super) fn prepare() -> Result<Self> {
        let dir = place::target().join("bench");
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("{} cannot be emptied", dir.display()))?;
        }
        fs::create_dir_all(&dir)?;
        let stopwatch = compile(&dir, "stopwatch", include_str!("stopwatch.c"))?;
        let opens = compile(&dir, "opens", include_str!("opens.c"))?;
        Ok(Bench { testimony: place::target().join("release/testimony"), dir, stopwatch, opens })
    }

    /// Every workload, ready to run.
    pub(super) fn workloads(&self, sizes: &Sizes) -> Result<Vec<Workload>> {
        let tracers = [Subject::Testimony, Subject::Strace, Subject::Bpftrace];
        let files = self.files("files", FOLDER_FILES)?;
        let opens = self.opens_of(&files, FOLDER_FILES, sizes.opens / FOLDER_FILES, 1);
        let library = self.library(sizes.compile_s)?;
        let out = self.dir.join("library-out");
        let make = ["make", "--silent", "-j2", "-C", &shown(&library), &format!("OUT={}", out.display())];
        let execs = format!("i=0; while [ $i -lt {} ]; do /bin/true; i=$((i+1)); done", sizes.execs);
        let base = |name: String, command: Vec<String>, goal: f64| Workload {
            name,
            command,
            tracers: tracers.to_vec(),
            goal: Some(goal),
            at_once: 1,
            outside: false,
            makes: None,
            weight: 3,
        };
        let opens_name = format!("{} opens over {FOLDER_FILES} files", sizes.opens);
        Ok(vec![
            Workload {
                makes: Some(out.clone()),
                weight: 1,
                ..base("compile a C library, -j2".to_owned(), make.map(str::to_owned).to_vec(), 1.03)
            },
            base(opens_name.clone(), opens.clone(), 1.3),
            base(
                format!("{} fork+exec from a shell", sizes.execs),
                ["sh", "-c", &execs].map(str::to_owned).to_vec(),
                1.1,
            ),
            Workload {
                outside: true,
                tracers: vec![Subject::Testimony],
                ..base(format!("{opens_name}, outside the session"), opens.clone(), 1.15)
            },
            Workload {
                at_once: sizes.at_once,
                goal: None,
                tracers: vec![Subject::Testimony],
                weight: 2,
                ..base(format!("{} at once, each {opens_name}", sizes.at_once), opens, 1.0)
            },
        ])
    }

    /// The words that open each of the files so many times over.
    pub(super) fn opens_of(&self, files: &Path, count: usize, passes: usize, processes: usize) -> Vec<String> {
        let numbers = [count, passes, processes].map(|number| number.to_string());
        [shown(&self.opens), shown(files)].into_iter().chain(numbers).collect()
    }

    /// A folder with that many small files, each its own content.
    pub(super) fn files(&self, name: &str, count: usize) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        for file in 0..count {
            let folder = dir.join((file / FOLDER_FILES).to_string());
            if file % FOLDER_FILES == 0 {
                fs::create_dir_all(&folder)?;
            }
            fs::write(folder.join((file % FOLDER_FILES).to_string()), format!("file {file} of {name}\n"))?;
        }
        Ok(dir)
    }

    /// A C library that takes about so many seconds to compile on two processors; the same size gives the same files.
    fn library(&self, compile_s: f64) -> Result<PathBuf> {
        let dir = self.dir.join("library");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("Makefile"), MAKEFILE)?;
        fs::write(dir.join("f0.c"), source(CALIBRATION_FILE)?)?;
        let object = dir.join("calibration.o");
        let words = ["gcc", "-O2", "-c", "-o", &shown(&object), &shown(&dir.join("f0.c"))].map(str::to_owned);
        let times = watch::run(self, &self.dir.join("calibration"), &words)?;
        fs::remove_file(object)?;
        let files = (compile_s * JOBS / times.cpu_s).ceil().clamp(4.0, 2000.0);
        for file in 1.. {
            if file as f64 >= files {
                break;
            }
            fs::write(dir.join(format!("f{file}.c")), source(file)?)?;
        }
        Ok(dir)
    }
}

const MAKEFILE: &str = "\
OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard *.c))
$(OUT)/libbench.a: $(OBJECTS)
\tar rc $@ $^
$(OUT)/%.o: %.c
\tgcc -O2 -c -o $@ $<
";

/// One file of the library: functions that a compiler has something to do with.
fn source(file: usize) -> Result<String> {
    let mut text = "#include <math.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n".to_owned();
    for function in 0..FUNCTIONS {
        let factor = (file * FUNCTIONS + function) % 251 + 3;
        writeln!(
            text,
            "long f{file}_{function}(const long *v, long n, char *out) {{\n\
             \x20   long sum = {factor};\n\
             \x20   for (long i = 0; i < n; i++) {{\n\
             \x20       switch ((v[i] ^ sum) % 5) {{\n\
             \x20       case 0: sum += v[i] * {factor}; break;\n\
             \x20       case 1: sum ^= v[i] << {}; break;\n\
             \x20       case 2: sum -= labs(v[i]) / {factor}; break;\n\
             \x20       case 3: sum += (long)sqrt((double)(v[i] & 0xffff)); break;\n\
             \x20       default: sum = sum * 31 + v[(i * {factor}) % n];\n\
             \x20       }}\n\
             \x20   }}\n\
             \x20   if (out)\n\
             \x20       snprintf(out, 32, \"%ld\", sum);\n\
             \x20   return sum;\n\
             }}",
            function % 7 + 1
        )?;
    }
    Ok(text)
}

fn compile(dir: &Path, name: &str, source: &str) -> Result<PathBuf> {
    let (file, program) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&file, source)?;
    command::quiet(Command::new("gcc").args(["-O2", "-Wall", "-Werror", "-o"]).arg(&program).arg(file))?;
    Ok(program)
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
