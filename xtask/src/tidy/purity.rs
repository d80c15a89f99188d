//! The pure crates stay pure: no runtime, kernel or socket among their dependencies, no file, clock, process or
//! environment named in their code. Unit tests may read files. What it does not prove: that a dependency is pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Fault, File, paths, source};
use crate::command;

/// Crates that compute over bytes and readers only.
const PURE_CRATES: [&str; 2] = ["attestation", "policy"];

/// Crates that bring what a pure crate must not have.
const FORBIDDEN_CRATES: [&str; 16] = [
    "async-std",
    "aya",
    "aya-obj",
    "hyper",
    "libloading",
    "memmap2",
    "mio",
    "nix",
    "notify",
    "reqwest",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "ureq",
];

/// Paths that a pure crate must not name.
const FORBIDDEN_PATHS: [&str; 8] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Forbidden paths that a pure crate names outside its unit tests.
pub(super) fn names(file: &File) -> Vec<Fault> {
    let pure = PURE_CRATES.iter().any(|name| file.path.starts_with(&format!("{name}/src/")));
    if !pure || !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let code = source::code(&file.text);
    let fault = |named: paths::Named| {
        let forbidden = FORBIDDEN_PATHS.iter().find(|path| named.is_below(path))?;
        Some(Fault::new(&file.path, named.line, format!("names `{forbidden}`: this crate is pure")))
    };
    paths::named(source::without_tests(&code)).into_iter().filter_map(fault).collect()
}

/// Forbidden crates among what the pure crates are linked with.
pub(super) fn dependencies() -> Result<Vec<Fault>> {
    let text = command::read(command::cargo().args(["metadata", "--format-version", "1"]))?;
    forbidden_dependencies(&serde_json::from_str(&text)?)
}

fn forbidden_dependencies(metadata: &Value) -> Result<Vec<Fault>> {
    let names = package_names(metadata).context("cargo metadata lists no packages")?;
    let links = links(metadata).context("cargo metadata resolves no dependencies")?;
    let mut faults = Vec::new();
    for pure in PURE_CRATES {
        let Some(start) = names.iter().find(|(_, name)| **name == pure).map(|(id, _)| *id) else { continue };
        for id in reachable(start, &links) {
            let name = names.get(id).copied().unwrap_or_default();
            if FORBIDDEN_CRATES.contains(&name) {
                let what = format!("is linked with `{name}`: this crate is pure");
                faults.push(Fault::new(&format!("{pure}/Cargo.toml"), 1, what));
            }
        }
    }
    Ok(faults)
}

fn package_names(metadata: &Value) -> Option<BTreeMap<&str, &str>> {
    let packages = metadata["packages"].as_array()?;
    packages.iter().map(|package| Some((package["id"].as_str()?, package["name"].as_str()?))).collect()
}

/// From each package to those it is linked with; what only tests or build scripts use is left out.
fn links(metadata: &Value) -> Option<BTreeMap<&str, Vec<&str>>> {
    let is_linked =
        |dep: &&Value| dep["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()));
    let mut links = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array()? {
        let deps = node["deps"].as_array()?;
        let ids = deps.iter().filter(is_linked).filter_map(|dep| dep["pkg"].as_str()).collect();
        links.insert(node["id"].as_str()?, ids);
    }
    Some(links)
}

fn reachable<'a>(start: &'a str, links: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        open.extend(links.get(id).into_iter().flatten().filter(|next| seen.insert(**next)));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::{File, forbidden_dependencies, names};
    use serde_json::{Value, json};

    fn faults(path: &str, text: &str) -> usize {
        names(&File { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn a_file_or_clock_in_a_pure_crate_is_refused() {
        assert_eq!(faults("attestation/src/log.rs", "use std::{fs::File, time::SystemTime};"), 2);
        assert_eq!(faults("policy/src/lib.rs", "fn f() { std::env::var(x); }"), 1);
        assert_eq!(faults("policy/src/lib.rs", "use std::fs as files;"), 1);
    }

    #[test]
    fn readers_durations_and_comments_are_pure() {
        assert_eq!(faults("attestation/src/log.rs", "use std::io::Read; use std::time::Duration; // std::fs"), 0);
    }

    #[test]
    fn unit_tests_and_other_crates_may_read_files() {
        assert_eq!(faults("attestation/src/log.rs", "#[cfg(test)]\nmod tests { use std::fs; }"), 0);
        assert_eq!(faults("attestation/tests/golden.rs", "use std::fs;"), 0);
        assert_eq!(faults("agent/src/evidence.rs", "use std::fs;"), 0);
    }

    fn metadata(kind: &Value) -> Value {
        let dep = |id: &str, kind: &Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [{"id": "1", "name": "attestation"}, {"id": "2", "name": "middle"}, {"id": "3", "name": "tokio"}],
            "resolve": {"nodes": [
                {"id": "1", "deps": [dep("2", &Value::Null)]},
                {"id": "2", "deps": [dep("3", kind)]},
                {"id": "3", "deps": []},
            ]},
        })
    }

    #[test]
    fn a_forbidden_crate_is_found_behind_another() {
        let found = forbidden_dependencies(&metadata(&Value::Null)).expect("metadata is whole");
        assert_eq!(found[0].to_string(), "attestation/Cargo.toml:1: is linked with `tokio`: this crate is pure");
    }

    #[test]
    fn what_only_tests_or_build_scripts_use_is_not_linked() {
        assert!(forbidden_dependencies(&metadata(&json!("dev"))).expect("metadata is whole").is_empty());
        assert!(forbidden_dependencies(&metadata(&json!("build"))).expect("metadata is whole").is_empty());
    }

    #[test]
    fn metadata_without_packages_is_an_error_not_a_pass() {
        assert!(forbidden_dependencies(&json!({})).is_err());
    }
}
