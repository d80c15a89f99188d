//! Where the files of a build are: how many were read, written and executed in each place that a person knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::statement::Statement;
use crate::{command, place};

/// A place: its name and the folder it stands for.
struct Place {
    name: String,
    dir: PathBuf,
}

/// The paths that were accessed in one way, each once.
#[derive(Default)]
struct Accessed<'a> {
    read: BTreeSet<&'a str>,
    written: BTreeSet<&'a str>,
    executed: BTreeSet<&'a str>,
}

/// The table, one line a place, the busiest first.
pub(super) fn table(statement: &Statement) -> Result<String> {
    let places = places()?;
    let mut rows: BTreeMap<String, Accessed<'_>> = BTreeMap::new();
    for file in statement.files() {
        let row = rows.entry(name(&places, file.path)).or_default();
        for (was, paths) in
            [(file.read, &mut row.read), (file.written, &mut row.written), (file.executed, &mut row.executed)]
        {
            if was {
                paths.insert(file.path);
            }
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.read.len() + row.written.len()));
    let mut table = format!("  {:<40} {:>8} {:>8} {:>8}\n", "files by place", "read", "written", "executed");
    for (name, row) in rows {
        writeln!(table, "  {name:<40} {:>8} {:>8} {:>8}", row.read.len(), row.written.len(), row.executed.len())?;
    }
    Ok(table)
}

/// The places, the innermost first.
fn places() -> Result<Vec<Place>> {
    let sysroot = command::read(Command::new("rustc").current_dir(place::root()).args(["--print", "sysroot"]))?;
    let mut places = vec![
        place_of("what the build makes", place::target().join("demo")),
        place_of("the workspace", place::root()),
        place_of("the Rust toolchain", PathBuf::from(sysroot.trim())),
    ];
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    places.extend(cargo_home.map(|home| place_of("Cargo's home, with the dependencies", home)));
    Ok(places)
}

fn place_of(name: &str, dir: PathBuf) -> Place {
    Place { name: name.to_owned(), dir }
}

/// The place's name, or the first folder of the path.
fn name(places: &[Place], path: &str) -> String {
    if let Some(place) = places.iter().find(|place| Path::new(path).starts_with(&place.dir)) {
        return place.name.clone();
    }
    match path.strip_prefix('/').and_then(|path| path.split('/').next()) {
        Some(first) => format!("/{first}"),
        None => "without a path".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{name, place_of};

    #[test]
    fn the_innermost_place_gives_the_name() {
        let places = [place_of("inner", "/a/b".into()), place_of("outer", "/a".into())];
        assert_eq!(name(&places, "/a/b/c"), "inner");
        assert_eq!(name(&places, "/a/bc"), "outer");
        assert_eq!(name(&places, "/usr/lib/x"), "/usr");
        assert_eq!(name(&places, "memfd:x"), "without a path");
    }
}
