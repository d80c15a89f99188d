//! Docker's store: a folder a container, with `config.v2.json` in it.

use std::{collections::BTreeMap, path::Path};

use proto::evidence::Container;
use serde::Deserialize;

use super::{labels, pod, read, sha256};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(default)]
    name: String,
    /// The digest of the image's configuration.
    image: String,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    image_manifest: Option<Manifest>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

/// Written since Docker 28, where its images are in containerd's store.
#[derive(Deserialize)]
struct Manifest {
    digest: String,
}

/// What the store says of a container.
///
/// # Errors
/// Why it does not.
pub(super) fn look_up(root: &Path, id: &str) -> Result<Container, String> {
    let path = root.join("containers").join(id).join("config.v2.json");
    let stored: Stored =
        serde_json::from_slice(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    let manifest = stored.image_manifest.and_then(|manifest| sha256(&manifest.digest));
    let image_config = manifest.is_none();
    let mut container = Container {
        name: stored.name.trim_start_matches('/').to_owned(),
        image: stored.config.image,
        image_sha256: manifest.or_else(|| sha256(&stored.image)).unwrap_or_default(),
        image_config,
        labels: labels(stored.config.labels.unwrap_or_default()),
        ..Container::default()
    };
    pod(&mut container);
    Ok(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_says_its_image() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("containers/c1");
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            r#"{{"Name":"/web","Image":"sha256:{}","Config":{{"Image":"web:1","Labels":{{"io.kubernetes.pod.name":"p"}}}}}}"#,
            "ab".repeat(32)
        );
        std::fs::write(folder.join("config.v2.json"), text).unwrap();
        let found = look_up(root.path(), "c1").unwrap();
        assert_eq!((found.name.as_str(), found.image.as_str(), found.pod.as_str()), ("web", "web:1", "p"));
        assert_eq!((found.image_sha256, found.image_config), (vec![0xab; 32], true));
        assert!(look_up(root.path(), "c2").is_err());
    }
}
