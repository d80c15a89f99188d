//! Sigstore's services: Fulcio, which certifies a key for a moment, and Rekor, the log of what was signed.

use std::path::Path;

use anyhow::Result;

use super::gomod::Release;

pub(super) const FULCIO: Release = Release {
    name: "fulcio",
    module: "github.com/sigstore/fulcio",
    version: "1.8.8",
    programs: &[("fulcio", ".")],
    trial: "version",
    prepare: as_it_is,
};

pub(super) const REKOR: Release = Release {
    name: "rekor-tiles",
    module: "github.com/sigstore/rekor-tiles/v2",
    version: "2.3.0",
    programs: &[("rekor-server", "./cmd/rekor-server/posix")],
    trial: "version",
    prepare: as_it_is,
};

#[expect(clippy::unnecessary_wraps, reason = "others have to be changed before they can be built")]
fn as_it_is(_: &Path) -> Result<()> {
    Ok(())
}
