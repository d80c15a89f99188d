//! Whether a run here could have a keyless signature: what is given for it, and what each service says.

use spiffe::constants::SPIFFE_SOCKET_ENV;

use super::{Check, Status, report};
use crate::keyless::{
    Args, Error, Keyless,
    look::{Certificates, Looked, Token},
};

const NAME: &str = "keyless";
/// What to do about a trusted root that does not fit.
const ROOT: &str = "give the trusted root of these services with --keyless-trusted-root";

/// One line where nothing is given, and otherwise one for the files, the token and each service.
pub(super) fn checks(args: &Args) -> Vec<Check> {
    match args.read() {
        Ok(None) => vec![Check::new(NAME, Status::Ok, missing(std::env::var_os(SPIFFE_SOCKET_ENV).is_some()))],
        Ok(Some(keyless)) => match keyless.look() {
            Ok(looked) => all(&keyless, &looked),
            Err(error) => vec![report::chain(NAME, &error)],
        },
        Err(error) => vec![
            report::chain(NAME, &error)
                .action("give the files that cosign signing-config create and cosign trusted-root create write"),
        ],
    }
}

/// What a keyless signature takes, where none is asked for.
fn missing(has_socket: bool) -> String {
    let token = if has_socket {
        format!("the token would come from {SPIFFE_SOCKET_ENV}")
    } else {
        format!("{SPIFFE_SOCKET_ENV} or --keyless-token FILE")
    };
    format!("not looked at: it takes --keyless SIGNING_CONFIG and --keyless-trusted-root TRUSTED_ROOT; {token}")
}

fn all(keyless: &Keyless, looked: &Looked) -> Vec<Check> {
    let [certificates, log, stamps] = keyless.addresses();
    vec![
        root(keyless),
        token(&looked.token),
        fulcio(certificates, &looked.certificates, looked.token.as_ref().ok()),
        match &looked.log {
            Ok(()) => Check::new("keyless log", Status::Ok, format!("{log} answers")),
            Err(error) => absent("keyless log", error),
        },
        match &looked.timestamp {
            Ok(true) => Check::new("keyless time", Status::Ok, format!("{stamps} gives timestamps")),
            Ok(false) => stranger("keyless time", format!("{stamps} gives timestamps that the trusted root refuses")),
            Err(error) => absent("keyless time", error),
        },
    ]
}

fn root(keyless: &Keyless) -> Check {
    match keyless.transparency_logs() {
        0 => Check::new(NAME, Status::Warn, "the trusted root names no certificate transparency log").action(
            "name one, or let who verifies say --insecure-ignore-sct: a certificate that nobody published is not found",
        ),
        count => Check::new(NAME, Status::Ok, format!("certificates have to be logged, in one of {count} logs")),
    }
}

fn token(token: &Result<Token, Error>) -> Check {
    const NAME: &str = "keyless token";
    match token {
        Ok(Token { who, issuer, expired: false }) => {
            Check::new(NAME, Status::Ok, format!("{who}, by the word of {issuer}"))
        }
        Ok(Token { who, issuer, expired: true }) => {
            Check::new(NAME, Status::Fail, format!("{who}, by the word of {issuer}, has expired"))
                .action("have a new one written to --keyless-token, or let the Workload API give it")
        }
        Err(error) => report::chain(NAME, error).action(format!(
            "set {SPIFFE_SOCKET_ENV} to the Workload API, with an entry for this user and program, or give --keyless-token FILE"
        )),
    }
}

fn fulcio(url: &str, answer: &Result<Certificates, Error>, token: Option<&Token>) -> Check {
    const NAME: &str = "keyless CA";
    match answer {
        Ok(Certificates { trusted: false, .. }) => {
            stranger(NAME, format!("{url} certifies by an authority that the trusted root has not"))
        }
        Ok(certificates) => match token {
            Some(Token { issuer, .. }) if !certificates.may_take(issuer) => Check::new(
                NAME,
                Status::Warn,
                format!("{url} takes no tokens of {issuer}, only of {}", some(certificates)),
            )
            .action("name that issuer in Fulcio's configuration, or give a token of one that it names"),
            Some(Token { issuer, .. }) => Check::new(NAME, Status::Ok, format!("{url} takes tokens of {issuer}")),
            None => Check::new(NAME, Status::Ok, format!("{url} answers")),
        },
        Err(error) => absent(NAME, error),
    }
}

/// The first of whose tokens it takes: the list is as long as it likes.
fn some(certificates: &Certificates) -> String {
    const ISSUERS_MAX: usize = 8;
    let some = certificates.issuers.iter().take(ISSUERS_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match certificates.issuers.len().saturating_sub(ISSUERS_MAX) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// A service that is not there costs the bundle, and not the statement.
fn absent(name: &str, error: &Error) -> Check {
    Check { status: Status::Warn, ..report::chain(name, error) }
        .action("see that it runs at the address in the signing config, and that no proxy stands between (HTTP_PROXY)")
}

fn stranger(name: &str, says: String) -> Check {
    Check::new(name, Status::Warn, says).action(ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_anything_what_is_missing_is_one_line() {
        for has_socket in [false, true] {
            let says = missing(has_socket);
            assert!(says.contains("--keyless SIGNING_CONFIG") && says.contains("--keyless-trusted-root"), "{says}");
            assert_eq!(says.contains("--keyless-token"), !has_socket);
            assert!(!says.contains('\n'));
        }
    }

    #[test]
    fn a_token_of_another_issuer_is_said_before_it_is_refused() {
        let token = |issuer: &str| Token { who: "me".to_owned(), issuer: issuer.to_owned(), expired: false };
        let answer = |issuers: &[&str]| {
            let issuers = issuers.iter().map(|issuer| (*issuer).to_owned()).collect();
            Ok(Certificates { issuers, trusted: true })
        };
        let status = |issuers: &[&str], issuer| fulcio("url", &answer(issuers), Some(&token(issuer))).status;
        assert_eq!(status(&["https://a.test"], "https://a.test"), Status::Ok);
        assert_eq!(status(&["https://*.test"], "https://a.test"), Status::Ok);
        assert_eq!(status(&["https://a.test"], "https://b.test"), Status::Warn);
        assert_eq!(status(&[], "https://b.test"), Status::Warn);
        let stranger = Ok(Certificates { issuers: vec!["https://a.test".to_owned()], trusted: false });
        assert_eq!(fulcio("url", &stranger, Some(&token("https://a.test"))).action.as_deref(), Some(ROOT));
    }

    #[test]
    fn an_expired_token_and_none_would_keep_a_run_from_starting() {
        let expired = Token { who: "me".to_owned(), issuer: "https://a.test".to_owned(), expired: true };
        assert_eq!(token(&Ok(expired)).status, Status::Fail);
        assert_eq!(token(&Err(Error::LongToken)).status, Status::Fail);
    }
}
