//! The configuration read again while the agent runs: whom it delivers to, and as whom, changes at once; for all else the agent has to
//! be restarted, since sessions go on as they were opened.

use std::{future::pending, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;

use super::{Counts, Delivery, Settings};

/// How long it may take to know who we are.
const START_MAX: Duration = Duration::from_secs(10);

/// Delivery by the configuration as it is now; `None`, and that is said, if it cannot be used, and what was before stays.
pub(super) async fn again(config: &Path, now: &mut Settings, counts: &Arc<Counts>) -> Option<Delivery> {
    notify::reloading();
    let renewed = renewed(config, now, counts).await;
    notify::ready();
    match renewed {
        Ok((settings, delivery)) => {
            eprintln!("testimony: the configuration was read again");
            *now = settings;
            Some(delivery)
        }
        Err(error) => {
            eprintln!("testimony: the configuration of before stays: {error:#}");
            None
        }
    }
}

async fn renewed(config: &Path, now: &Settings, counts: &Arc<Counts>) -> anyhow::Result<(Settings, Delivery)> {
    let settings: Settings = config::read(config)?;
    anyhow::ensure!(
        fixed(&settings) == fixed(now),
        "only [collector] and [tls] can change while the agent runs: restart it for the others"
    );
    if !settings.delivers() {
        return Ok((settings, Box::pin(pending())));
    }
    // What was before goes on until it is known who we are.
    let started = tokio::time::timeout(START_MAX, super::ship::start(&settings, Arc::clone(counts))).await;
    let delivery = started.with_context(|| format!("[tls] nothing came within {} s", START_MAX.as_secs()))??;
    Ok((settings, Box::pin(delivery)))
}

/// All that stays, in words.
fn fixed(settings: &Settings) -> String {
    let rest = Settings { collector: <_>::default(), tls: <_>::default(), ..settings.clone() };
    format!("{rest:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_it_delivers_to_may_change_and_what_it_traces_may_not() {
        let read = |text: &str| {
            let tls = "[tls]\ncertificate = 'c'\nkey = 'k'\nauthorities = 'a'\n[collector]\nhost = ";
            fixed(&config::parse::<Settings>("agent.toml", &format!("{tls}{text}")).unwrap())
        };
        assert_eq!(read("'one'\n"), read("'two'\nport = 9\n"));
        assert_ne!(read("'one'\n"), read("'one'\n[control]\n"));
        assert_ne!(read("'one'\n"), read("'one'\n[sessions]\ncontainers = true\n"));
        assert_ne!(read("'one'\n"), read("'one'\n[spool]\nfolder = '/elsewhere'\n"));
    }
}
