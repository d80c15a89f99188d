//! The store of podman, CRI-O and their kin (github.com/containers/storage): JSON files beside the layers, one folder a driver.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proto::evidence::Container;
use serde::Deserialize;

use super::{labels, pod, read, sha256};

/// `containers.json`.
#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    image: String,
    #[serde(default)]
    metadata: String,
}

/// What the engine wrote beside it, JSON in a string.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "image-name")]
    image_name: String,
    name: String,
    #[serde(rename = "pod-name")]
    pod_name: String,
}

/// `images.json`.
#[derive(Deserialize)]
struct Image {
    id: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    names: Vec<String>,
}

/// Its engine's labels, of `config.json` of its bundle.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Bundle {
    annotations: std::collections::BTreeMap<String, String>,
}

/// What the first store says that has the container.
///
/// # Errors
/// Why none does.
pub(super) fn look_up(roots: &[PathBuf], id: &str) -> Result<Container, String> {
    let mut fault = "no store is configured".to_owned();
    for root in roots {
        match drivers(root).and_then(|drivers| in_store(root, &drivers, id)) {
            Ok(container) => return Ok(container),
            Err(why) => fault = why,
        }
    }
    Err(fault)
}

/// Storage drivers of a store, by their folders.
fn drivers(root: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_suffix("-containers").map(str::to_owned)).collect())
}

fn in_store(root: &Path, drivers: &[String], id: &str) -> Result<Container, String> {
    for driver in drivers {
        let folder = root.join(format!("{driver}-containers"));
        let all: Vec<Stored> = parse(&folder.join("containers.json"))?;
        let Some(stored) = all.into_iter().find(|stored| stored.id == id) else { continue };
        let images: Vec<Image> = parse(&root.join(format!("{driver}-images/images.json")))?;
        let image = images.into_iter().find(|image| image.id == stored.image);
        let bundle: Bundle = parse(&folder.join(id).join("userdata/config.json")).unwrap_or_default();
        return Ok(container(stored, image, bundle));
    }
    Err(format!("{} has no container {id}", root.display()))
}

fn container(stored: Stored, image: Option<Image>, bundle: Bundle) -> Container {
    let metadata: Metadata = serde_json::from_str(&stored.metadata).unwrap_or_default();
    let manifest = image.as_ref().and_then(|image| sha256(&image.digest));
    let image_config = manifest.is_none();
    let named = image.and_then(|image| image.names.into_iter().next());
    let mut container = Container {
        name: if metadata.name.is_empty() {
            stored.names.into_iter().next().unwrap_or_default()
        } else {
            metadata.name
        },
        image: if metadata.image_name.is_empty() { named.unwrap_or_default() } else { metadata.image_name },
        // An image's id is the digest of its configuration.
        image_sha256: manifest.or_else(|| sha256(&stored.image)).unwrap_or_default(),
        image_config,
        labels: labels(bundle.annotations),
        ..Container::default()
    };
    pod(&mut container);
    if container.pod.is_empty() {
        container.pod = metadata.pod_name;
    }
    container
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, String> {
    serde_json::from_slice(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(image: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in ["vfs-containers", "vfs-images"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let stored =
            r#"[{"id":"c1","names":["web"],"image":"IMAGE","metadata":"{\"image-name\":\"localhost/web:1\"}"}]"#;
        fs::write(root.path().join("vfs-containers/containers.json"), stored.replace("IMAGE", image)).unwrap();
        let images = format!(r#"[{{"id":"i1","digest":"sha256:{}","names":["localhost/web:1"]}}]"#, "ab".repeat(32));
        fs::write(root.path().join("vfs-images/images.json"), images).unwrap();
        root
    }

    #[test]
    fn an_image_is_known_by_its_manifest() {
        let root = store("i1");
        let found = look_up(&["/nowhere".into(), root.path().to_owned()], "c1").unwrap();
        assert_eq!((found.image.as_str(), found.image_config), ("localhost/web:1", false));
        assert_eq!((found.name.as_str(), found.image_sha256), ("web", vec![0xab; 32]));
        assert!(look_up(&[root.path().to_owned()], "c2").unwrap_err().contains("c2"));
    }

    #[test]
    fn an_image_that_is_not_in_the_store_is_known_by_its_configuration() {
        let id = "cd".repeat(32);
        let root = store(&id);
        let found = look_up(&[root.path().to_owned()], "c1").unwrap();
        assert_eq!((found.image_config, found.image_sha256), (true, vec![0xcd; 32]));
    }
}
