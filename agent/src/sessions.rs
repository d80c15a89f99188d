//! `testimony sessions`: what the node's agent traces now, and what it traced.

use std::path::PathBuf;

use anyhow::Context as _;
use attestation::{escape::escape, hex, time};
use node_api::{Session, StatusResponse};

use crate::{
    control::{Client, SOCKET},
    watch::Id,
};

/// What to do with sessions.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Where the agent listens
    #[arg(long, value_name = "SOCKET", default_value = SOCKET, global = true)]
    socket: PathBuf,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Say which there are: all for root, else one's own
    List,
    /// Say what one tells from now on, a line each, until it is over
    Tail {
        /// Its id, or as much of its beginning as names one
        id: String,
    },
    /// Close one, and wait for its statement; what runs in it goes on, untraced
    Close {
        /// Its id, or as much of its beginning as names one
        id: String,
        /// How long processes that live on are followed, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
        grace: f64,
    },
}

/// Does it.
///
/// # Errors
/// If there is no agent, or it refuses.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let mut client = Client::connect(&args.socket)?;
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(&client.status()?, args.json),
        Action::Tail { id } => {
            let id = named(&client.status()?, id)?;
            client.tail(&id, |line| {
                if line.missed > 0 {
                    print(&format!("... {} lines were left out", line.missed), args.json, "missed")?;
                }
                print(&line.text, args.json, "text")
            })?;
        }
        Action::Close { id, grace } => {
            let id = named(&client.status()?, id)?;
            close(&mut client, &id, *grace, args.json)?;
        }
    }
    Ok(0)
}

fn print(text: &str, json: bool, name: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let line = if json { serde_json::json!({ name: text }).to_string() } else { text.to_owned() };
    // Whoever reads may have enough.
    writeln!(std::io::stdout().lock(), "{line}").context("nobody reads the lines any more")
}

/// The one session whose id begins so.
fn named(status: &StatusResponse, id: &str) -> anyhow::Result<Id> {
    let ids: Vec<&[u8]> = status.sessions.iter().map(|session| session.session_id.as_slice()).collect();
    let mut fitting = ids.iter().filter(|known| hex::encode(known).starts_with(id));
    let one = fitting.next().with_context(|| format!("there is no session {id} of yours: see testimony sessions"))?;
    anyhow::ensure!(fitting.next().is_none(), "several sessions begin with {id}: say more of it");
    Id::try_from(*one).context("the agent gave no id of a session")
}

fn list(status: &StatusResponse, json: bool) {
    if json {
        status.sessions.iter().for_each(|session| println!("{}", as_json(session)));
        return;
    }
    for session in &status.sessions {
        let (id, opened) = (hex::encode(&session.session_id), time::utc(session.opened_s));
        let name = escape(session.name.as_bytes());
        let Session { kind, state, uid, events, living, .. } = session;
        println!("{id} {state:7} {kind:9} {opened} user {uid}, {events} events, {living} processes: {name}");
        for (what, text) in [("image", &session.image), ("statement", &session.statement), ("says", &session.says)] {
            if !text.is_empty() {
                println!("    {what}: {}", escape(text.as_bytes()));
            }
        }
    }
    let others = if status.others > 0 { format!(", {} of others", status.others) } else { String::new() };
    println!(
        "{} sessions{others}; agent {} since {}",
        status.sessions.len(),
        status.agent_version,
        time::utc(status.started_s)
    );
    println!("capabilities of the agent: {}", status.capabilities.join(" "));
}

fn as_json(session: &Session) -> serde_json::Value {
    serde_json::json!({
        "id": hex::encode(&session.session_id),
        "kind": session.kind,
        "name": session.name,
        "uid": session.uid,
        "opened": time::utc(session.opened_s),
        "state": session.state,
        "events": session.events,
        "living": session.living,
        "cgroup": session.cgroup,
        "image": session.image,
        "statement": session.statement,
        "says": session.says,
    })
}

fn close(client: &mut Client, id: &Id, grace: f64, json: bool) -> anyhow::Result<()> {
    let closed = client.close(id, std::time::Duration::from_secs_f64(grace.clamp(0.0, 86_400.0)))?;
    let gaps: Vec<&str> = closed.gaps.iter().map(|gap| gap.code.as_str()).collect();
    if json {
        let line = serde_json::json!({
            "payloadSha256": hex::encode(&closed.payload_sha256),
            "complete": closed.complete,
            "lossless": closed.lossless,
            "processes": closed.processes,
            "files": closed.files,
            "contacts": closed.contacts,
            "gaps": gaps,
        });
        println!("{line}");
        return Ok(());
    }
    let verdict = if closed.complete { "COMPLETE".to_owned() } else { format!("INCOMPLETE ({} gaps)", gaps.len()) };
    println!("signed, {verdict}: {} processes, {} file versions", closed.processes, closed.files);
    Ok(())
}
