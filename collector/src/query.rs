//! `testimony-collector query`: the same questions as by the API, for whoever may read the store's folder.

mod human;

use std::io::{self, Write as _};

use attestation::{codes, hex, time};
use serde::Serialize;

use crate::{
    index::{Filter, Page, Reader},
    settings::Settings,
};

/// A question.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    question: Question,
    /// Print a line of JSON each, as docs/api.md has it
    #[arg(long, global = true)]
    json: bool,
    /// So many at most, the newest first; 0 for all
    #[arg(long, global = true, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(clap::Subcommand)]
enum Question {
    /// Statements by subject, host, SPIFFE ID, session, image, time, verdict or gap: those to which all that is said applies
    Statements(StatementArgs),
    /// What read, wrote or ran a content
    Files {
        /// SHA-256 of the content
        #[arg(value_name = "SHA256")]
        sha256: String,
        /// Only those that did this
        #[arg(long, value_parser = ["read", "write", "exec"])]
        access: Option<String>,
    },
    /// Who talked to a host: an address, or a name as it was asked for
    Contacts {
        #[arg(value_name = "ADDRESS|NAME")]
        peer: String,
    },
    /// Images that containers ran; none of them is verified by nodes of this version
    Images,
    /// What statements lack; without a code, all that ends completeness
    Gaps {
        #[arg(long)]
        host: Option<String>,
        #[arg(long)]
        code: Option<String>,
    },
    /// Chains with numbers that nobody sent, or that say two things; with --all, the whole ones as well
    Chains {
        #[arg(long)]
        all: bool,
    },
    /// Hosts, with when they were last heard of
    Hosts {
        /// Only those that no statement was kept of since this time
        #[arg(long, value_name = "TIME")]
        silent_since: Option<String>,
    },
    /// Alerts that were made, as far as they are kept
    Alerts,
}

#[derive(clap::Args)]
struct StatementArgs {
    /// SHA-256 of a subject
    #[arg(long, value_name = "SHA256")]
    subject: Option<String>,
    #[arg(long)]
    host: Option<String>,
    /// Who signed or sent it: a SPIFFE ID, or the id of a key
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
    /// Kept at this time or later: as 2026-11-24T03:00:00Z, or a day
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Kept before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[arg(long, value_parser = ["complete", "incomplete"])]
    verdict: Option<String>,
    /// With this code among its gaps, blind spots and notices
    #[arg(long, value_name = "CODE")]
    gap: Option<String>,
}

/// Answers.
///
/// # Errors
/// What was not understood, or of the index.
pub(crate) fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let index = Reader::open(&settings.state)?;
    let out = Out { json: args.json, limit: if args.limit == 0 { u64::MAX } else { args.limit.into() } };
    match &args.question {
        Question::Statements(which) => {
            let filter = which.filter()?;
            out.print(|page| index.statements(&filter, page), human::statement)
        }
        Question::Files { sha256, access } => {
            let sha256 = digest(sha256)?;
            out.print(|page| index.files(&sha256, access.as_deref(), page), human::file)
        }
        Question::Contacts { peer } => out.print(|page| index.contacts(peer, page), human::contact),
        Question::Images => out.print(|page| index.images(page), human::image),
        Question::Gaps { host, code } => {
            let code = code.as_deref().map(known_code).transpose()?;
            out.print(|page| index.gaps(host.as_deref(), code.as_deref(), page), human::gap)
        }
        Question::Chains { all } => out.print(|page| index.chains(!all, page), human::chain),
        Question::Hosts { silent_since } => {
            let before = silent_since.as_deref().map(|text| at("silent-since", text)).transpose()?;
            out.print(|page| index.hosts(before, page), human::host)
        }
        Question::Alerts => out.print(|page| index.alerts(page), human::alert),
    }
}

fn digest(text: &str) -> anyhow::Result<[u8; 32]> {
    hex::decode_sha256(text).ok_or_else(|| anyhow::anyhow!("{text:?} is no SHA-256 in lowercase hexadecimal"))
}

fn at(name: &str, text: &str) -> anyhow::Result<u64> {
    let says =
        || anyhow::anyhow!("--{name}: {text:?} is no time such as 2026-11-24T03:00:00Z, nor a day such as 2026-11-24");
    time::seconds(text).ok_or_else(says)
}

fn known_code(text: &str) -> anyhow::Result<String> {
    let code = text.to_ascii_uppercase().replace('-', "_");
    anyhow::ensure!(codes::is_code(&code), "{text:?} is no code: `testimony explain` lists them");
    Ok(code)
}

impl StatementArgs {
    fn filter(&self) -> anyhow::Result<Filter> {
        Ok(Filter {
            subject: self.subject.as_deref().map(digest).transpose()?,
            host: self.host.clone(),
            identity: self.spiffe_id.clone(),
            session: self.session.clone(),
            image: self.image.clone(),
            from_s: self.from.as_deref().map(|text| at("from", text)).transpose()?,
            to_s: self.to.as_deref().map(|text| at("to", text)).transpose()?,
            complete: self.verdict.as_deref().map(|verdict| verdict == "complete"),
            gap: self.gap.as_deref().map(known_code).transpose()?,
        })
    }
}

/// How it is printed.
struct Out {
    json: bool,
    limit: u64,
}

impl Out {
    /// Page by page: all of it may be more than fits in memory.
    fn print<T: Serialize>(
        &self,
        ask: impl Fn(&Page) -> Result<(Vec<T>, Option<String>), crate::index::Bad>,
        human: impl Fn(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let (mut page, mut left) = (Page { cursor: None, limit: Some(crate::index::LIMIT_MAX) }, self.limit);
        loop {
            page.limit = Some(u32::try_from(left.min(crate::index::LIMIT_MAX.into())).unwrap_or(1));
            let (rows, next) = ask(&page)?;
            for row in &rows {
                let line = if self.json {
                    serde_json::to_string(row)?
                } else {
                    human(row).replace(char::is_control, "\u{fffd}")
                };
                match writeln!(out, "{line}") {
                    // A reader that has enough is no fault.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    written => written?,
                }
            }
            left = left.saturating_sub(rows.len() as u64);
            match next {
                Some(_) if left == 0 => {
                    if !self.json {
                        eprintln!("there are more: say --limit");
                    }
                    return Ok(());
                }
                Some(cursor) => page.cursor = Some(cursor),
                None => return Ok(()),
            }
        }
    }
}
