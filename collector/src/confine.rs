//! What the collector keeps of its rights: none of root's, and the files that its configuration names. Whoever breaks into it by what it
//! is sent has its store and its keys, and no more.

use std::{
    collections::BTreeSet,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rights::{CapabilitySet, Held, Needs};

use crate::settings::Settings;

/// What names of hosts and certificates of authorities are looked up in.
const LOOKED_UP: &[&str] = &["/etc", "/lib", "/usr/lib", "/usr/share/ca-certificates", "/run/systemd/resolve"];

/// Becomes the user that the store belongs to, if root asks: what he would make in it, the collector could not read.
///
/// # Errors
/// If he cannot.
pub(crate) fn as_owner(settings: &Settings) -> anyhow::Result<()> {
    rights::become_owner(&settings.state).map(drop).with_context(|| settings.state.display().to_string())
}

/// For a process that will receive, before it starts a thread: no capability is left, none can be had again, and other files than it
/// needs are refused. Returns what to say of it.
///
/// # Errors
/// If it keeps more than that: it is not to receive then.
pub(crate) fn hold(config: &Path, settings: &Settings) -> anyhow::Result<String> {
    let kept = rights::keep(CapabilitySet::empty()).context("the capabilities cannot be given up")?;
    anyhow::ensure!(kept.is_empty(), "capabilities are left: {}", rights::listed(kept).join(", "));
    DirBuilder::new().recursive(true).mode(0o700).create(&settings.state)?;
    let held = rights::hold(&needs(config, settings)).context("the files that it may reach cannot be limited")?;
    let files = match held {
        Held::Whole => "other files than its own are refused to it",
        Held::Partly => "other files than its own are refused to it as far as this kernel can",
        Held::No => "there is no Landlock here to refuse it other files than its own",
    };
    Ok(format!("no capabilities, and {files}"))
}

/// The folders of what is named, and not the files: what renews a file puts another in its place. For a webhook, what names and
/// authorities are looked up in, too.
fn needs(config: &Path, settings: &Settings) -> Needs {
    let api = settings.api.as_ref().and_then(|api| api.tls.as_ref());
    let tls = [Some(&settings.tls), api].into_iter().flatten();
    let tls = tls.flat_map(|tls| [&tls.certificate, &tls.key, &tls.authorities]).flatten().map(PathBuf::as_path);
    let makers = settings.enrolment.makers.iter().map(PathBuf::as_path);
    let webhook = settings.alerts.webhook.as_ref();
    let shown = webhook.into_iter().flat_map(|webhook| [&webhook.authorities, &webhook.token_file]);
    let shown = shown.flatten().map(PathBuf::as_path);
    let named = tls.chain(makers).chain(shown).chain(settings.trust.files()).chain([config]);
    let folder = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut read: BTreeSet<PathBuf> = named.map(folder).collect();
    // Folders of bundles are named themselves.
    read.extend(settings.trust.files().filter(|path| path.is_dir()).map(Path::to_owned));
    if webhook.is_some() {
        read.extend(LOOKED_UP.iter().map(PathBuf::from));
    }
    let write = settings.alerts.file.as_deref().map(folder).into_iter().chain([settings.state.clone()]);
    Needs { read: read.into_iter().collect(), write: write.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_read_are_the_folders_of_what_is_named() {
        let text = "state = '/s'\n[log]\nname = 'l'\n[tls]\ncertificate = '/c/c'\nkey = '/k/k'\nauthorities = 'a'\n\
                    [peers]\nany = true\n[trust]\nkeys = ['/t/one', '/t/two']\n[enrolment]\nmakers = ['/m/m']\n";
        let settings = config::parse::<Settings>("c.toml", text).unwrap();
        let needs = needs(Path::new("/etc/testimony/collector.toml"), &settings);
        let read: Vec<_> = needs.read.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(read, ["/c", "/etc/testimony", "/k", "/m", "/t", "."]);
        assert_eq!(needs.write, [Path::new("/s")]);
    }

    #[test]
    fn what_alerts_are_told_by_may_be_used_and_names_looked_up_for_a_webhook_alone() {
        let text = "state = '/s'\n[log]\nname = 'l'\n[tls]\ncertificate = '/c/c'\nkey = '/c/k'\nauthorities = '/c/a'\n\
                    [peers]\nany = true\n[trust]\nkeys = ['/c/one']\n[alerts]\nfile = '/alerts/file'\n";
        let read = |text: &str| needs(Path::new("/c/toml"), &config::parse::<Settings>("c.toml", text).unwrap());
        let without = read(text);
        assert_eq!(without.write, [Path::new("/alerts"), Path::new("/s")]);
        assert_eq!(without.read, [Path::new("/c")]);
        let with = read(&format!("{text}[alerts.webhook]\nurl = 'https://h/'\ntoken_file = '/t/token'\n")).read;
        assert!(["/c", "/t"].iter().chain(LOOKED_UP).all(|path| with.contains(&PathBuf::from(path))), "{with:?}");
    }
}
