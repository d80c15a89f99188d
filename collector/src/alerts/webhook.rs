//! A POST of JSON each, by HTTPS.

use std::{io, time::Duration};

use anyhow::Context as _;
use reqwest::{Certificate, Client, Url, header, redirect::Policy};
use testimony_verify::files::read_at_most;

use super::settings;

/// How long one may take, all in all.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Bytes of a file of certificates, or of a token.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where to, and by what.
#[derive(Debug)]
pub(super) struct Webhook {
    client: Client,
    url: Url,
    token: Option<header::HeaderValue>,
}

impl Webhook {
    /// Reads what is named.
    ///
    /// # Errors
    /// What cannot be used.
    pub(super) fn new(settings: &settings::Webhook) -> anyhow::Result<Self> {
        // Nobody else is sent what was meant for this one.
        let mut client = Client::builder().timeout(WAIT_MAX).redirect(Policy::none()).https_only(true).no_proxy();
        if let Some(path) = &settings.authorities {
            let named = || format!("[alerts.webhook] authorities: {}", path.display());
            let pem = read_at_most(path, FILE_BYTES_MAX).with_context(named)?;
            let authorities = Certificate::from_pem_bundle(&pem).with_context(named)?;
            anyhow::ensure!(!authorities.is_empty(), "{}: no certificate in it", named());
            client = client.tls_certs_only(authorities);
        }
        let token = settings.token_file.as_ref().map(|path| {
            let named = || format!("[alerts.webhook] token_file: {}", path.display());
            let token = read_at_most(path, FILE_BYTES_MAX).with_context(named)?;
            let bearer = [b"Bearer ", token.trim_ascii()].concat();
            let mut bearer = header::HeaderValue::from_bytes(&bearer).with_context(named)?;
            bearer.set_sensitive(true);
            anyhow::Ok(bearer)
        });
        Ok(Self { client: client.build()?, url: settings.url.parse()?, token: token.transpose()? })
    }

    /// Sends one; what is answered is not read, and any status of 200 to 299 will do.
    pub(super) async fn send(&self, line: String) -> io::Result<()> {
        let mut request =
            self.client.post(self.url.clone()).header(header::CONTENT_TYPE, "application/json").body(line);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        // Its words without the URL, in which a secret may stand.
        let failed = |error: reqwest::Error| {
            let kind = if error.is_connect() { io::ErrorKind::NotConnected } else { io::ErrorKind::Other };
            io::Error::new(kind, chain(&error.without_url()))
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(io::Error::other(format!("it answers {status}"))) }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
