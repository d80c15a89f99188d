//! SPIRE, which gives identities to workloads: server, agent, and who publishes its keys, built from the Go modules of a release.

use std::path::Path;

use anyhow::Result;

use super::gomod::Release;

/// A plugin of the server's that needs a module which is not to be had; nobody here uses it.
const LEFT_OUT: &str = "pkg/server/plugin/upstreamauthority/ejbca";
/// The list of plugins that names it.
const CATALOG: &str = "pkg/server/catalog/upstreamauthority.go";

pub(super) const SPIRE: Release = Release {
    name: "spire",
    module: "github.com/spiffe/spire",
    version: "1.15.3",
    programs: &[
        ("spire-agent", "./cmd/spire-agent"),
        ("spire-server", "./cmd/spire-server"),
        ("oidc-discovery-provider", "./support/oidc-discovery-provider"),
    ],
    trial: "--version",
    prepare: leave_out,
};

fn leave_out(source: &Path) -> Result<()> {
    std::fs::remove_dir_all(source.join(LEFT_OUT))?;
    let catalog = source.join(CATALOG);
    let kept = std::fs::read_to_string(&catalog)?;
    let kept: String = kept.lines().filter(|line| !line.contains("ejbca")).flat_map(|line| [line, "\n"]).collect();
    Ok(std::fs::write(&catalog, kept)?)
}
