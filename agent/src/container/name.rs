//! What a cgroup's path says: runtimes name the cgroups of their containers by the containers' ids.

/// Whose container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    Podman,
    CriO,
    Docker,
    Containerd,
}

impl Runtime {
    /// As the log says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
        }
    }
}

/// What a cgroup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A container, with its id.
    Container(Runtime, String),
    /// Others are made below it.
    Parent,
    /// A unit of systemd's, with its name.
    Unit(String),
    Other,
}

/// Prefixes and suffixes of a last component, around an id.
const NAMED: [(&str, Runtime); 4] = [
    ("libpod-", Runtime::Podman),
    ("crio-", Runtime::CriO),
    ("docker-", Runtime::Docker),
    ("cri-containerd-", Runtime::Containerd),
];
/// Where runtimes that write cgroups themselves put them: what is directly below is called by its id.
const FOLDERS: [(&str, Runtime); 5] = [
    ("/docker", Runtime::Docker),
    ("/default", Runtime::Containerd),
    ("/k8s.io", Runtime::Containerd),
    ("/buildkit", Runtime::Containerd),
    ("/moby", Runtime::Containerd),
];
/// Bytes of the longest id that is believed.
const ID_BYTES_MAX: usize = 128;
const UNITS: [&str; 2] = [".service", ".scope"];

/// What the cgroup at a path of the v2 hierarchy is, by the path alone.
pub(crate) fn meaning(path: &str) -> Meaning {
    let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
    let scope = last.strip_suffix(".scope").unwrap_or(last);
    for (prefix, runtime) in NAMED {
        if let Some(id) = scope.strip_prefix(prefix).filter(|id| is_hex_id(id)) {
            return Meaning::Container(runtime, id.to_owned());
        }
    }
    if let Some((_, runtime)) = FOLDERS.iter().find(|(known, _)| *known == folder)
        && is_id(last)
    {
        return Meaning::Container(*runtime, last.to_owned());
    }
    if folder.starts_with("/kubepods") && is_hex_id(last) {
        return Meaning::Container(Runtime::Containerd, last.to_owned());
    }
    if is_parent(path, last) {
        return Meaning::Parent;
    }
    let unit = UNITS.iter().any(|suffix| last.ends_with(suffix));
    if unit { Meaning::Unit(last.to_owned()) } else { Meaning::Other }
}

/// A folder of a runtime, a slice, what a user's manager runs in, a pod.
fn is_parent(path: &str, last: &str) -> bool {
    let folder = FOLDERS.iter().any(|(known, _)| *known == path);
    let pod = path.starts_with("/kubepods") && (last.starts_with("pod") || !is_hex_id(last));
    let manager = last.starts_with("user@") && last.ends_with(".service");
    folder || pod || manager || last.ends_with(".slice") || path == "/libpod_parent"
}

fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_cgroups() {
        let id = "185ba3981430c52cf487c2d31d0f60131fce9fef8781501a986c2b755561c6f3";
        for (path, runtime) in [
            (format!("/libpod_parent/libpod-{id}"), Runtime::Podman),
            (format!("/machine.slice/libpod-{id}.scope"), Runtime::Podman),
            (format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"), Runtime::Podman),
            (format!("/kubepods.slice/kubepods-pod1.slice/crio-{id}.scope"), Runtime::CriO),
            (format!("/docker/{id}"), Runtime::Docker),
            (format!("/system.slice/docker-{id}.scope"), Runtime::Docker),
            (format!("/kubepods/besteffort/pod7/{id}"), Runtime::Containerd),
            (format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"), Runtime::Containerd),
        ] {
            assert_eq!(meaning(&path), Meaning::Container(runtime, id.to_owned()), "{path}");
        }
        assert_eq!(meaning("/default/web-1"), Meaning::Container(Runtime::Containerd, "web-1".to_owned()));
    }

    #[test]
    fn what_stands_above_or_beside_them_is_none() {
        let id = "185ba3981430c52cf487c2d31d0f60131fce9fef8781501a986c2b755561c6f3";
        for path in ["/libpod_parent", "/docker", "/machine.slice", "/kubepods", "/kubepods/besteffort/pod7"] {
            assert_eq!(meaning(path), Meaning::Parent, "{path}");
        }
        assert_eq!(
            meaning(&format!("/machine.slice/libpod-conmon-{id}.scope")),
            unit(&format!("libpod-conmon-{id}.scope"))
        );
        assert_eq!(meaning("/system.slice/nginx.service"), unit("nginx.service"));
        assert_eq!(meaning(&format!("/machine.slice/libpod-{id}.scope/container")), Meaning::Other);
        assert_eq!(meaning("/libpod_parent/conmon"), Meaning::Other);
    }

    fn unit(name: &str) -> Meaning {
        Meaning::Unit(name.to_owned())
    }
}
