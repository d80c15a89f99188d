//! Which container a cgroup is: by the name that its runtime gives cgroups, and then by that runtime's own store. Nothing is asked
//! of a runtime that could hold its lock for us to wait on, and what a store does not say is said to be unknown.

mod docker;
mod name;
mod storage;

use std::{path::PathBuf, thread, time::Duration};

use config::{Fault, Validate};
use proto::evidence::{Container, Label};
use serde::Deserialize;

pub(crate) use name::{Meaning, Runtime, meaning};

/// How often a store is asked, which may be written after the cgroup is made.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(100);
/// Labels that are told, and bytes of one.
const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 1024;
/// Bytes of a store's file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Where runtimes keep what they know.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stores {
    /// Of podman and CRI-O (containers/storage).
    pub(crate) storage: Vec<PathBuf>,
    /// Of Docker.
    pub(crate) docker: PathBuf,
}

impl Default for Stores {
    fn default() -> Self {
        Self { storage: vec!["/var/lib/containers/storage".into()], docker: "/var/lib/docker".into() }
    }
}

impl Validate for Stores {
    fn faults(&self, faults: &mut Vec<Fault>) {
        for path in &self.storage {
            if !path.is_absolute() {
                faults.push(Fault::new("storage", format!("{} is no absolute path", path.display())));
            }
        }
        if !self.docker.is_absolute() {
            faults.push(Fault::new("docker", "is no absolute path"));
        }
    }
}

/// What the store of its runtime says of a container. It waits for a store that does not have it yet, two seconds at most.
pub(crate) fn look_up(runtime: Runtime, id: &str, stores: &Stores) -> Container {
    let known = Container { runtime: runtime.as_str().to_owned(), id: id.to_owned(), ..Container::default() };
    let mut fault = String::new();
    for _ in 0..TRIES {
        let said = match runtime {
            Runtime::Podman | Runtime::CriO => storage::look_up(&stores.storage, id),
            Runtime::Docker => docker::look_up(&stores.docker, id),
            Runtime::Containerd => Err("containerd's store is not read".to_owned()),
        };
        match said {
            Ok(said) => return Container { runtime: known.runtime, id: known.id, ..bounded(said) },
            Err(why) => fault = why,
        }
        thread::sleep(BETWEEN);
    }
    Container { fault, ..known }
}

/// By name, as many as are taken.
fn bounded(mut container: Container) -> Container {
    container.labels.retain(|label| label.name.len() + label.value.len() <= LABEL_BYTES_MAX);
    container.labels.sort_by(|one, other| one.name.cmp(&other.name));
    container.labels.truncate(LABELS_MAX);
    container
}

/// Where Kubernetes says which pod a container is of.
fn pod(container: &mut Container) {
    let label = |name: &str| {
        let found = container.labels.iter().find(|label| label.name == name);
        found.map(|label| label.value.clone()).unwrap_or_default()
    };
    let (name, namespace) = (label("io.kubernetes.pod.name"), label("io.kubernetes.pod.namespace"));
    let uid = label("io.kubernetes.pod.uid");
    (container.pod, container.pod_namespace, container.pod_uid) = (name, namespace, uid);
}

/// `sha256:` and 64 digits.
fn sha256(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    attestation::hex::decode_sha256(digits).map(|digest| digest.to_vec())
}

fn labels(labels: impl IntoIterator<Item = (String, String)>) -> Vec<Label> {
    labels.into_iter().map(|(name, value)| Label { name, value }).collect()
}

/// A file of a store, as JSON.
fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    testimony_verify::files::read_at_most(path, FILE_BYTES_MAX).map_err(|error| format!("{}: {error}", path.display()))
}
