//! A double of SPIFFE's Workload API, for what no SPIRE does: answers that are wrong, cut, endless or none, and a thousand
//! rotations. It speaks as much gRPC as a stream of X.509-SVIDs needs.

use std::path::PathBuf;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::OffsetDateTime;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::place::Scratch;

/// Who the workload is, unless it is said.
pub const ID: &str = "spiffe://example.org/ci/builder";

/// What the API answers from now on.
#[derive(Debug, Clone)]
pub enum Answer {
    /// SVIDs; a new answer follows on the same stream.
    Svids(Vec<Svid>),
    /// Bytes in place of a message.
    Bytes(Vec<u8>),
    /// A gRPC status.
    Status(u32),
    /// The connection stays, and nothing comes.
    Silence,
    /// The connection is closed.
    Close,
}

/// An X.509-SVID as the API writes it (SPIFFE Workload API, `workload.proto`).
#[derive(Clone, PartialEq, Message)]
pub struct Svid {
    /// SPIFFE ID.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Certificates in DER, one after the other, the workload's first.
    #[prost(bytes = "vec", tag = "2")]
    pub chain: Vec<u8>,
    /// Key in PKCS#8.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    /// Authorities in DER, one after the other.
    #[prost(bytes = "vec", tag = "4")]
    pub bundle: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Svids {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
}

/// The double. It is gone when it is dropped.
#[derive(Debug)]
pub struct WorkloadApi {
    folder: Scratch,
    answer: watch::Sender<Answer>,
    _runtime: Runtime,
}

impl WorkloadApi {
    /// Begins to answer.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn start(answer: Answer) -> Self {
        let folder = Scratch::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (sender, receiver) = watch::channel(answer);
        let listener = runtime.block_on(async { UnixListener::bind(folder.join("api.sock")) }).expect("a socket");
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, receiver.clone()));
            }
        });
        Self { folder, answer: sender, _runtime: runtime }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("api.sock")
    }

    /// It, as `--signer` takes it.
    #[must_use]
    pub fn signer(&self) -> String {
        format!("spiffe:{}", self.socket().display())
    }

    /// Answers so from now on, to streams that are open too.
    pub fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }
}

async fn serve(stream: UnixStream, answers: watch::Receiver<Answer>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        if matches!(*answers.borrow(), Answer::Close) {
            return;
        }
        tokio::spawn(stream_of(request, respond, answers.clone()));
    }
}

/// One stream of answers. Who asks reads them or goes away.
async fn stream_of(_: Request<RecvStream>, mut respond: SendResponse<Bytes>, mut answers: watch::Receiver<Answer>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let Ok(mut stream) = respond.send_response(head, false) else { return };
    loop {
        let answer = answers.borrow_and_update().clone();
        if send(&mut stream, &answer).await.is_none() || answers.changed().await.is_err() {
            return;
        }
    }
}

/// Nothing where the stream is at its end.
async fn send(stream: &mut SendStream<Bytes>, answer: &Answer) -> Option<()> {
    let message = match answer {
        Answer::Svids(svids) => Svids { svids: svids.clone() }.encode_to_vec(),
        Answer::Bytes(bytes) => bytes.clone(),
        Answer::Silence => return Some(()),
        Answer::Status(status) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(*status));
            let _ = stream.send_trailers(trailers);
            return None;
        }
        Answer::Close => {
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
            return None;
        }
    };
    let length = u32::try_from(message.len()).expect("a message of less than 4 GiB").to_be_bytes();
    let framed = Bytes::from([&[0][..], &length, &message].concat());
    stream.send_data(framed, false).ok()
}

/// An authority of a trust domain.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Authority {
    /// As SPIRE makes them, changed by `change`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.subject_alt_names = vec![uri("spiffe://example.org")];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (in_seconds(-3600), in_seconds(86_400));
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("a certificate").der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// An SVID as SPIRE gives them for an hour, changed by `change`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn svid(&self, change: impl FnOnce(&mut CertificateParams)) -> Svid {
        self.svid_of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"), change)
    }

    /// The same, for a key.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn svid_of(&self, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Svid {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(ID)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (in_seconds(-10), in_seconds(3600));
        change(&mut params);
        let chain = params.signed_by(&key, &self.issuer).expect("a certificate").der().to_vec();
        Svid { id: ID.to_owned(), chain, key: key.serialize_der(), bundle: self.der.clone() }
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        attestation::identity::pem(&self.der)
    }
}

/// A name that is a URI.
///
/// # Panics
/// If it is no ASCII.
#[must_use]
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a URI"))
}

/// So many seconds from now.
#[must_use]
pub fn in_seconds(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::seconds(seconds)
}

/// A critical extension that nobody knows.
#[must_use]
pub fn unknown_critical() -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    extension.set_criticality(true);
    extension
}
