//! What no service does, by doubles of one that do.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::*;

/// What may be under way in sockets beside what was read.
const SOCKETS_BYTES_MAX: usize = 16 << 20;

/// Serves one connection, and says how many bytes it got rid of.
fn serve(answer: impl FnOnce(&mut TcpStream) -> usize + Send + 'static) -> (Services, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = [0; 8192];
        let _ = stream.read(&mut question);
        answer(&mut stream)
    });
    (Services::new(&SigningServices::new(&url, &url)).unwrap(), served)
}

fn issuers(services: &Services) -> Result<Vec<String>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(services.issuers())
}

fn endless(stream: &mut TcpStream, head: &str, part: &[u8]) -> usize {
    let _ = stream.write_all(head.as_bytes());
    let mut sent = 0;
    while sent < 4 * SOCKETS_BYTES_MAX && stream.write_all(part).is_ok() {
        sent += part.len();
    }
    sent
}

#[test]
fn an_answer_without_end_is_read_to_the_limit_and_not_on() {
    let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX / 2);
    let unsized_ = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned();
    for head in [sized, unsized_] {
        let began = Instant::now();
        let (services, served) = serve(move |stream| endless(stream, &head, &[b' '; 1 << 16]));
        assert!(matches!(issuers(&services), Err(Error::TooLong { .. })));
        assert!(served.join().unwrap() < SOCKETS_BYTES_MAX);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn an_error_without_end_is_its_status_and_first_words() {
    let head = "HTTP/1.1 500 No\r\nConnection: close\r\n\r\n";
    let (services, served) = serve(|stream| endless(stream, head, &[b'\x1b'; 1 << 16]));
    let error = issuers(&services).unwrap_err();
    assert!(matches!(&error, Error::Status { status: 500, says, .. } if says.len() < 8 * WORDS_BYTES_MAX), "{error}");
    assert!(served.join().unwrap() < SOCKETS_BYTES_MAX);
}

#[test]
fn a_token_that_comes_back_is_not_said() {
    let url = Url::parse("https://example.org").unwrap();
    let status = |says: &str| Error::Status { url: url.clone(), status: 400, says: says.to_owned() };
    let token = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl";
    for echo in [format!(": no {token}"), format!(": no {}", &token[..30])] {
        assert!(!without(status(&echo), token).to_string().contains("eyJ"), "{echo}");
    }
    assert!(without(status(": no such issuer"), token).to_string().contains("no such issuer"));
}

#[test]
fn what_is_packed_is_not_unpacked() {
    // Three bytes of gzip's head, and what follows is not of it.
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let (services, _served) = serve(move |stream| endless(stream, head, b"\x1f\x8b\x08"));
    assert!(matches!(issuers(&services), Err(Error::TooLong { .. })));
}

#[test]
fn headers_without_end_are_no_answer() {
    let (services, served) = serve(|stream| endless(stream, "HTTP/1.1 200 OK\r\n", b"Name: of a header\r\n"));
    assert!(matches!(issuers(&services), Err(Error::Unreachable { .. })));
    assert!(served.join().unwrap() < SOCKETS_BYTES_MAX);
}

#[test]
fn an_answer_at_the_limit_is_read_and_one_byte_more_is_not() {
    for (more, taken) in [(0, true), (1, false)] {
        let (services, _served) = serve(move |stream| {
            let config = b"{\"issuers\":[]}";
            let pad = ANSWER_BYTES_MAX - config.len() + more;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", pad + config.len());
            let sent = [head.as_bytes(), config, &vec![b' '; pad]].concat();
            stream.write_all(&sent).map_or(0, |()| sent.len())
        });
        match issuers(&services) {
            Ok(found) => assert!(taken && found.is_empty()),
            Err(error) => assert!(!taken && matches!(error, Error::TooLong { .. }), "{error}"),
        }
    }
}

#[test]
fn what_is_no_answer_is_an_error_of_its_kind() {
    type Expected = fn(&Error) -> bool;
    let answers: [(&[u8], Expected); 5] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnonsense", |error| matches!(error, Error::Answer { .. })),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 800\r\n\r\ncut", |error| matches!(error, Error::Cut { .. })),
        (b"HTTP/1.1 302 There\r\nLocation: http://127.0.0.1:1/\r\n\r\n", |error| {
            matches!(error, Error::Status { status: 302, .. })
        }),
        (b"nonsense\r\n\r\n", |error| matches!(error, Error::Unreachable { .. })),
        (b"", |error| matches!(error, Error::Unreachable { .. })),
    ];
    for (answer, expected) in answers {
        let (services, _served) = serve(move |stream| stream.write(answer).unwrap_or_default());
        let error = issuers(&services).unwrap_err();
        assert!(expected(&error), "{error:?}");
    }
}

#[test]
fn addresses_that_are_none() {
    for wrong in ["", "fulcio.example.org", "ftp://example.org", "file:///etc/passwd"] {
        let services = SigningServices::new(wrong, "https://example.org");
        assert!(matches!(Services::new(&services), Err(Error::Address(_))), "{wrong}");
    }
    let url = Url::parse("https://example.org/a/").unwrap();
    assert_eq!(below(&url, "b").as_str(), "https://example.org/a/b");
}

#[test]
fn authorities_are_read_as_fulcio_writes_them() {
    let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let answer = serde_json::json!({ "chains": [{ "certificates": [pem, pem] }] }).to_string();
    assert_eq!(authorities(answer.as_bytes()).unwrap()[0].len(), 2);
    assert!(authorities(b"{}").is_err() && authorities(b"{\"chains\":[{\"certificates\":[\"\"]}]}").is_err());
}

#[test]
fn an_answer_without_a_certificate_has_none() {
    for answer in ["", "{}", "[]", r#"{"signedCertificateEmbeddedSct":{"chain":{"certificates":[]}}}"#] {
        assert!(first_certificate(answer.as_bytes()).is_err(), "{answer}");
    }
}
