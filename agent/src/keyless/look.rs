//! What is there to sign with, before it is needed: files, a token, and what each service says to a question of which nothing is published.

use std::time::Duration;

use sigstore_oidc::IdentityToken;

use super::{Error, Keyless, runtime};

/// How long a service may take to say something.
const WAIT: Duration = Duration::from_secs(10);
/// What a timestamp is asked for: a signature of nothing.
const QUESTION: &[u8] = b"testimony doctor";

/// What was found.
pub struct Looked {
    /// Who the token says we are, who issued it, and whether it has expired.
    pub token: Result<Token, Error>,
    /// Whose tokens Fulcio takes, and whether the trusted root has its authority.
    pub certificates: Result<Certificates, Error>,
    /// Whether the log answers.
    pub log: Result<(), Error>,
    /// Whether the trusted root has the authority of a timestamp that was given.
    pub timestamp: Result<bool, Error>,
}

/// A token's words.
pub struct Token {
    /// Who.
    pub who: String,
    /// Who says so.
    pub issuer: String,
    /// Whether nobody takes it any more.
    pub expired: bool,
}

/// What Fulcio says of itself.
pub struct Certificates {
    /// Whose tokens it takes; a name may have `*` in it.
    pub issuers: Vec<String>,
    /// Whether the trusted root has its authority.
    pub trusted: bool,
}

impl Certificates {
    /// Whether it takes tokens of this issuer, as far as its words can be read: what has a `*` may be anybody.
    pub fn may_take(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|taken| taken.contains('*') || taken == issuer)
    }
}

impl Keyless {
    /// Asks for a token, and all services at once.
    ///
    /// # Errors
    /// Why nobody could be asked.
    pub fn look(&self) -> Result<Looked, Error> {
        let token = async { self.token().await.map(|token| words(&token)) };
        let certificates = async {
            let (issuers, authorities) = (self.services.issuers().await?, self.services.authorities().await?);
            Ok(Certificates { issuers, trusted: authorities.iter().any(|chain| self.trusted.certifies(chain)) })
        };
        let log = async { Ok(self.services.log_answers().await?) };
        let timestamp = async {
            let stamp = self.authority.stamped(QUESTION).await?;
            Ok(self.trusted.stamps(&stamp.answer, QUESTION))
        };
        let (token, certificates, log, timestamp) = runtime()?
            .block_on(async { tokio::join!(in_time(token), in_time(certificates), in_time(log), in_time(timestamp)) });
        Ok(Looked { token, certificates, log, timestamp })
    }

    /// Where the services are, as the signing config has it: Fulcio, Rekor, the timestamp authority.
    pub fn addresses(&self) -> [&str; 3] {
        let [certificates, log] = self.services.addresses();
        [certificates, log, self.authority.url()]
    }

    /// How many logs of certificates the trusted root names.
    pub fn transparency_logs(&self) -> usize {
        self.trusted.transparency_logs()
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(WAIT, answer).await.unwrap_or(Err(Error::Silent(WAIT.as_secs())))
}

fn words(token: &IdentityToken) -> Token {
    let (who, issuer) = (token.identity().to_owned(), token.issuer().to_owned());
    Token { who, issuer, expired: token.is_expired() }
}
