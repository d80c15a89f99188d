//! Sigstore's timestamp authority, which says when a signature existed (RFC 3161).

use std::path::Path;

use anyhow::{Result, ensure};

use super::gomod::Release;

/// Where it opens a port for its metrics, always the same one and to everybody.
const METRICS: &str = "pkg/server/prometheus.go";

pub(super) const TIMESTAMP_AUTHORITY: Release = Release {
    name: "timestamp-authority",
    module: "github.com/sigstore/timestamp-authority/v2",
    version: "2.1.3",
    programs: &[("timestamp-server", "./cmd/timestamp-server")],
    trial: "version",
    prepare: any_port,
};

/// Several run beside each other here, and nobody is to reach them.
fn any_port(source: &Path) -> Result<()> {
    let path = source.join(METRICS);
    let text = std::fs::read_to_string(&path)?;
    let changed = text.replace("\":2112\"", "\"127.0.0.1:0\"");
    ensure!(changed != text, "{METRICS} of the timestamp authority has another port than is known");
    Ok(std::fs::write(&path, changed)?)
}
