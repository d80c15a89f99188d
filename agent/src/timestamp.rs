//! Timestamp authorities: asks them, over HTTP, when a signature existed (RFC 3161).
//!
//! The answer is held to the question and to the signature that it carries. Whether its authority is to be trusted is for
//! whoever verifies: no root is known here.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use attestation::{
    dsse::TIMESTAMPS_MAX,
    timestamp::{Request, ResponseError, TOKEN_BYTES_MAX},
};
use reqwest::{Client, Url, redirect::Policy};
use rustix::rand::{GetRandomFlags, getrandom};

/// How long an authority may take, from the connection to the last byte.
const WAIT: Duration = Duration::from_secs(10);
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 2 * TOKEN_BYTES_MAX;
/// An authority's clock and this host's may differ by so many seconds without a word.
const SKEW_S: u64 = 60;

/// Why there is no timestamp.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0} is no address of a timestamp authority: say http://… or https://…")]
    Address(String),
    /// More than a signature takes.
    #[error("{0} timestamp authorities, and a signature has {TIMESTAMPS_MAX} timestamps at most")]
    TooMany(usize),
    /// No client could be made.
    #[error("no HTTP client could be made")]
    Client(#[source] reqwest::Error),
    /// Nobody can be asked.
    #[error("the client of timestamp authorities could not be started")]
    Runtime(#[source] io::Error),
    /// The answer was not whole in time.
    #[error("{url} did not answer within {} s", WAIT.as_secs())]
    Late {
        /// The authority.
        url: Url,
    },
    /// Nothing came back.
    #[error("{url} did not answer")]
    Unreachable {
        /// The authority.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// An HTTP error came back.
    #[error("{url} answered with HTTP status {status}")]
    Status {
        /// The authority.
        url: Url,
        /// What it said.
        status: u16,
    },
    /// The answer did not come to its end, or is too long.
    #[error("the answer of {url} is over {ANSWER_BYTES_MAX} bytes, or was cut")]
    Answer {
        /// The authority.
        url: Url,
    },
    /// The answer is no timestamp.
    #[error("{url} gave no timestamp")]
    Response {
        /// The authority.
        url: Url,
        /// Why.
        source: ResponseError,
    },
    /// The question could not be made.
    #[error("no question to a timestamp authority could be made")]
    Question,
}

/// An authority that may be asked.
#[derive(Clone)]
pub struct Authority {
    url: Url,
    client: Client,
}

/// A token, and the time that it says.
pub struct Stamp {
    /// The token in DER, as an envelope carries it.
    pub token: Vec<u8>,
    /// The answer that it came in, in DER, as a bundle carries it.
    pub answer: Vec<u8>,
    /// Seconds since 1970.
    pub time: u64,
}

impl Authority {
    /// An authority by its address. It is not asked yet.
    pub fn new(address: &str) -> Result<Self, Error> {
        let url = Url::parse(address).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let url = url.ok_or_else(|| Error::Address(address.to_owned()))?;
        // No connection is kept: each question has a runtime of its own. What is counted is what comes.
        let client = Client::builder().pool_max_idle_per_host(0).redirect(Policy::limited(3));
        let client = client.no_gzip().no_deflate().no_brotli().no_zstd();
        let client =
            client.user_agent(concat!("testimony/", env!("CARGO_PKG_VERSION"))).build().map_err(Error::Client)?;
        Ok(Self { url, client })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Asks when these bytes existed.
    pub fn stamp(&self, message: &[u8]) -> Result<Stamp, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        runtime.block_on(self.stamped(message))
    }

    /// The same for whoever has a runtime.
    pub async fn stamped(&self, message: &[u8]) -> Result<Stamp, Error> {
        let mut random = [0; 16];
        let read = getrandom(&mut random, GetRandomFlags::empty()).map_err(|_| Error::Question)?;
        let request = Request::new(message, random).filter(|_| read == random.len()).ok_or(Error::Question)?;
        // All of it: a limit of each part would be none for an authority that sends a byte now and then.
        let answer = tokio::time::timeout(WAIT, self.ask(request.der())).await;
        let answer = answer.map_err(|_| Error::Late { url: self.url.clone() })??;
        let token = request.token(&answer);
        let (token, time) = token.map_err(|source| Error::Response { url: self.url.clone(), source })?;
        Ok(Stamp { token, answer, time })
    }

    /// The bytes of an answer.
    async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Error> {
        // The address is said once.
        let unreachable =
            |source: reqwest::Error| Error::Unreachable { url: self.url.clone(), source: source.without_url() };
        let query = self.client.post(self.url.clone()).body(query.to_vec());
        let answer = query.header("Content-Type", "application/timestamp-query").send();
        let mut answer = answer.await.map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(Error::Status { url: self.url.clone(), status: answer.status().as_u16() });
        }
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|_| Error::Answer { url: self.url.clone() })? {
            bytes.extend_from_slice(&part);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Error::Answer { url: self.url.clone() });
            }
        }
        Ok(bytes)
    }
}

impl Stamp {
    /// Seconds by which this host's clock is away from the authority's, if that is worth a word.
    pub fn skew(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        Some(now.abs_diff(self.time)).filter(|seconds| *seconds > SKEW_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
    };

    /// Serves one connection; what a real authority does not do.
    fn serve(answer: impl FnOnce(TcpStream) + Send + 'static) -> Authority {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || answer(listener.accept().unwrap().0));
        Authority::new(&format!("http://127.0.0.1:{port}/api")).unwrap()
    }

    fn says(error: &Error) -> String {
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }

    #[test]
    fn addresses_that_are_none() {
        for wrong in ["", "timestamp.example.org", "ftp://example.org", "/var/run/tsa", "file:///etc/passwd"] {
            assert!(matches!(Authority::new(wrong), Err(Error::Address(_))), "{wrong}");
        }
        assert!(Authority::new("https://example.org/tsr").is_ok());
    }

    #[test]
    fn what_is_no_answer_is_none() {
        type Expected = fn(&Error) -> bool;
        let answers: [(&[u8], Expected); 5] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnonsense", |error| {
                matches!(error, Error::Response { source: ResponseError::Malformed, .. })
            }),
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", |error| {
                matches!(error, Error::Status { status: 503, .. })
            }),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 800\r\n\r\ncut", |error| matches!(error, Error::Answer { .. })),
            (b"nonsense\r\n\r\n", |error| matches!(error, Error::Unreachable { .. })),
            (b"", |error| matches!(error, Error::Unreachable { .. })),
        ];
        for (answer, expected) in answers {
            let authority = serve(move |mut stream| {
                let mut question = [0; 4096];
                let _ = stream.read(&mut question);
                let _ = stream.write_all(answer);
            });
            let error = authority.stamp(b"x").err().unwrap();
            assert!(expected(&error), "{}", says(&error));
        }
        let nobody = Authority::new("http://127.0.0.1:1/").unwrap().stamp(b"x").err().unwrap();
        assert!(matches!(nobody, Error::Unreachable { .. }), "{}", says(&nobody));
    }

    #[test]
    fn an_answer_that_drips_is_not_waited_for() {
        let authority = serve(|mut stream| {
            let mut question = [0; 4096];
            let _ = stream.read(&mut question);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while stream.write_all(b"0").is_ok() {
                thread::sleep(Duration::from_millis(200));
            }
        });
        assert!(matches!(authority.stamp(b"x"), Err(Error::Late { .. })));
    }

    #[test]
    fn an_answer_without_end_is_cut() {
        let authority = serve(|mut stream| {
            let mut question = [0; 4096];
            let _ = stream.read(&mut question);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[0x30; 4096]).is_ok() {}
        });
        assert!(matches!(authority.stamp(b"x"), Err(Error::Answer { .. })));
    }
}
