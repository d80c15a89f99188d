//! What a statement says, as it can be asked for: subjects, files by their contents, peers of the network, gaps, image. It is read from an
//! envelope that was verified when it was kept; nothing is judged here.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use attestation::{
    dsse, hex,
    merkle::Hash,
    statement::{self, Item, ReadError},
    time,
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor},
};
use sha2::{Digest as _, Sha256};

/// Words of an access, in the order of their bits.
pub(crate) const ACCESS: [&str; 6] = ["read", "write", "exec", "created", "truncated", "path"];
/// Classes of a digest.
pub(crate) const CLASSES: [&str; 5] = ["kernel", "stable", "ephemeral", "raced", "absent"];
/// Rows of one list of a statement at most: what is beyond is in the statement, and the index says that it was left out.
const ROWS_MAX: usize = 200_000;

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What was kept cannot be read again.
    #[error("an envelope that was kept cannot be read")]
    Envelope(#[from] dsse::EnvelopeError),
    /// It is not what was verified.
    #[error("an envelope that was kept has another payload than was verified: the store is damaged")]
    Another,
    /// The same.
    #[error("a statement that was kept cannot be read")]
    Claims(#[from] ReadError),
    /// The same.
    #[error("the lists of a statement that was kept cannot be read")]
    Lists(#[from] serde_json::Error),
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Names, as signed, and digests.
    pub(crate) subjects: Vec<(String, Hash)>,
    /// With a digest, each once.
    pub(crate) files: Vec<FileFact>,
    pub(crate) contacts: Vec<Contact>,
    pub(crate) gaps: Vec<Item>,
    /// Of the session: its id, its kind.
    pub(crate) session: [String; 2],
    pub(crate) started_s: Option<u64>,
    pub(crate) ended_s: Option<u64>,
    pub(crate) image: Option<Image>,
    pub(crate) lossless: bool,
    /// Files by class.
    pub(crate) classes: [u64; 5],
    pub(crate) lost: u64,
    pub(crate) coalesced: u64,
    /// Whether a list was longer than is kept of one.
    pub(crate) cut: bool,
}

/// A file whose content is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileFact {
    pub(crate) sha256: Hash,
    pub(crate) path: String,
    /// Bits of [`ACCESS`].
    pub(crate) access: u8,
    /// Place in [`CLASSES`].
    pub(crate) class: u8,
}

/// A peer, and what went to and from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) key: ContactKey,
    pub(crate) count: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// What tells two contacts apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContactKey {
    /// An address, or a name that was asked for, in lower case and without the last dot.
    pub(crate) peer: String,
    /// The address; that of the name, where it was answered and then contacted; empty where the name was only asked for.
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) direction: String,
    pub(crate) operation: String,
}

/// Of a container, as its runtime says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// By which it was started.
    pub(crate) reference: String,
    pub(crate) sha256: Option<Hash>,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// If it is no envelope with a statement, which none is that was kept.
    pub(crate) fn of(envelope: &[u8], payload_sha256: &Hash) -> Result<Self, Error> {
        let payload = dsse::read(envelope)?.into_unverified();
        // What was verified when it came, and nothing else.
        if <Hash>::from(Sha256::digest(&payload)) != *payload_sha256 {
            return Err(Error::Another);
        }
        let claims = statement::read(&payload)?;
        let Wire { predicate } = serde_json::from_slice(&payload)?;
        let (files, contacts) = (predicate.monitor_log.file_access, predicate.monitor_log.network);
        let cut = files.cut || contacts.cut || claims.subjects.len() > ROWS_MAX;
        let subject = |(name, sha256): (String, String)| Some((name, hex::decode_sha256(&sha256)?));
        let mut facts = files.rows.into_iter().filter_map(FileEntry::fact).collect::<Vec<_>>();
        facts.sort_unstable();
        facts.dedup();
        let session = predicate.testimony.session;
        Ok(Self {
            subjects: claims.subjects.into_iter().take(ROWS_MAX).filter_map(subject).collect(),
            files: facts,
            contacts: peers(contacts.rows),
            lossless: claims.lossless,
            classes: claims.digest_classes,
            lost: claims.hooks.iter().map(|hook| hook.lost).fold(0, u64::saturating_add),
            coalesced: claims.hooks.iter().map(|hook| hook.coalesced).fold(0, u64::saturating_add),
            gaps: claims.gaps.into_iter().chain(claims.blind_spots).collect(),
            session: [session.id.into_owned(), session.kind.into_owned()],
            started_s: time::seconds(&predicate.metadata.build_started_on),
            ended_s: claims.ended,
            image: session.container.and_then(Container::image),
            cut,
        })
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    predicate: Predicate<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    testimony: Testimony<'a>,
    #[serde(borrow)]
    monitor_log: MonitorLog<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    build_started_on: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Testimony<'a> {
    #[serde(borrow)]
    session: Session<'a>,
}

#[derive(Deserialize)]
struct Session<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    container: Option<Container<'a>>,
}

/// What a statement of a container says of its image.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(default, borrow)]
    image: Cow<'a, str>,
    #[serde(default, borrow)]
    image_sha256: Cow<'a, str>,
}

impl Container<'_> {
    fn image(self) -> Option<Image> {
        let sha256 = hex::decode_sha256(&self.image_sha256);
        let named = !self.image.is_empty() || sha256.is_some();
        named.then(|| Image { reference: self.image.into_owned(), sha256 })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitorLog<'a> {
    #[serde(borrow)]
    network: Part<ContactEntry<'a>>,
    #[serde(borrow)]
    file_access: Part<FileEntry<'a>>,
}

/// As many of a list as are kept.
struct Part<T> {
    rows: Vec<T>,
    cut: bool,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Part<T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Part<T>, A::Error> {
                let mut rows = Vec::new();
                while rows.len() < ROWS_MAX {
                    match list.next_element()? {
                        Some(row) => rows.push(row),
                        None => return Ok(Part { rows, cut: false }),
                    }
                }
                let mut cut = false;
                while list.next_element_seed(Skip)?.is_some() {
                    cut = true;
                }
                Ok(Part { rows, cut })
            }
        }
        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        IgnoredAny::deserialize(deserializer).map(drop)
    }
}

#[derive(Deserialize)]
struct FileEntry<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow)]
    digest: Option<Digest<'a>>,
    #[serde(borrow)]
    annotations: Annotations<'a>,
}

#[derive(Deserialize)]
struct Digest<'a> {
    #[serde(borrow)]
    sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow)]
    class: Cow<'a, str>,
    #[serde(borrow)]
    access: Cow<'a, str>,
}

impl FileEntry<'_> {
    fn fact(self) -> Option<FileFact> {
        let sha256 = hex::decode_sha256(&self.digest?.sha256)?;
        let class = CLASSES.iter().position(|class| *class == self.annotations.class)?;
        let bit = |word: &str| ACCESS.iter().position(|known| *known == word).map_or(0, |place| 1_u8 << place);
        let access = self.annotations.access.split('+').map(bit).fold(0, |bits, bit| bits | bit);
        Some(FileFact { sha256, path: self.name.into_owned(), access, class: u8::try_from(class).ok()? })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContactEntry<'a> {
    #[serde(default, borrow)]
    ip: Option<Cow<'a, str>>,
    #[serde(default)]
    port: u16,
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow)]
    direction: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    count: u64,
    sent_bytes: u64,
    received_bytes: u64,
    #[serde(default, borrow)]
    dns: Option<Dns<'a>>,
}

#[derive(Deserialize)]
struct Dns<'a> {
    #[serde(borrow)]
    questions: Vec<Named<'a>>,
    #[serde(borrow)]
    answers: Vec<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow)]
    data: Cow<'a, str>,
}

/// A name as it is looked for.
pub(crate) fn name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Each peer once with its sums; by its address, and by each name that was asked for and answered with that address.
fn peers(entries: Vec<ContactEntry<'_>>) -> Vec<Contact> {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for dns in entries.iter().filter_map(|entry| entry.dns.as_ref()) {
        // What was asked for may be an alias of what was answered: the address is both's.
        let asked = dns.questions.iter().map(|question| name(&question.name));
        let asked: Vec<String> = asked.chain(dns.answers.iter().map(|answer| name(&answer.name))).collect();
        for address in dns.answers.iter().filter(|answer| answer.data.parse::<std::net::IpAddr>().is_ok()) {
            let known = names.entry(&address.data).or_default();
            known.extend(asked.iter().filter(|name| !known.contains(name)).cloned().collect::<Vec<_>>());
        }
    }
    let mut sums: BTreeMap<ContactKey, [u64; 3]> = BTreeMap::new();
    let mut add = |key: ContactKey, entry: &ContactEntry<'_>| {
        if sums.len() < ROWS_MAX {
            let sum = sums.entry(key).or_default();
            let more = [entry.count, entry.sent_bytes, entry.received_bytes];
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        }
    };
    for entry in &entries {
        let key = |peer: String, address: String| ContactKey {
            peer,
            address,
            port: entry.port,
            protocol: entry.protocol.clone().into_owned(),
            direction: entry.direction.clone().into_owned(),
            operation: entry.operation.clone().into_owned(),
        };
        for question in entry.dns.iter().flat_map(|dns| &dns.questions) {
            add(ContactKey { port: 0, ..key(name(&question.name), String::new()) }, entry);
        }
        let Some(ip) = &entry.ip else { continue };
        for name in names.get(ip.as_ref()).into_iter().flatten().filter(|_| entry.dns.is_none()) {
            add(key(name.clone(), ip.clone().into_owned()), entry);
        }
        add(key(ip.clone().into_owned(), ip.clone().into_owned()), entry);
    }
    let contact = |(key, [count, sent, received]): (ContactKey, [u64; 3])| Contact { key, count, sent, received };
    sums.into_iter().map(contact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> Facts {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v1");
        read(&path.join(format!("{name}.intoto.jsonl")))
    }

    fn read(path: &std::path::Path) -> Facts {
        let envelope = std::fs::read(path).unwrap();
        let payload = dsse::read(envelope.as_slice()).unwrap().into_unverified();
        Facts::of(&envelope, &Sha256::digest(payload).into()).unwrap()
    }

    #[test]
    fn every_golden_statement_has_facts() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v1");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                let facts = read(&path);
                assert!(!facts.subjects.is_empty() && !facts.session[0].is_empty(), "{}", path.display());
                count += 1;
            }
        }
        assert!(count > 10);
    }

    #[test]
    fn files_have_their_digests_classes_and_accesses() {
        let facts = golden("complete");
        let product = facts.files.iter().find(|file| file.path == "/src/tool.tmp").unwrap();
        assert_eq!(Some(product.sha256), facts.subjects.first().map(|subject| subject.1));
        assert_eq!(product.access & 2, 2);
        let counted = |class: u8| facts.files.iter().filter(|file| file.class == class).count() as u64;
        assert_eq!([counted(0), counted(1), counted(3)], [facts.classes[0], facts.classes[1], facts.classes[3]]);
    }

    #[test]
    fn a_name_is_found_as_it_was_asked_for_and_at_the_address_it_was_answered_with() {
        let facts = golden("dns");
        let asked =
            facts.contacts.iter().find(|contact| contact.key.operation == "dns-sent" && contact.key.address.is_empty());
        assert!(asked.is_some_and(|contact| contact.count == 2), "{:?}", facts.contacts);
        // "a" was answered with an address that the session had contacted.
        let at = facts.contacts.iter().find(|contact| contact.key.peer == "a" && contact.key.address == "2001:db8::1");
        assert_eq!(at.map(|contact| (contact.key.port, contact.sent)), Some((443, 517)), "{:?}", facts.contacts);
    }

    #[test]
    fn a_container_has_an_image() {
        let image = golden("container").image.unwrap();
        assert!(!image.reference.is_empty() && image.sha256.is_some(), "{image:?}");
        assert_eq!(golden("complete").image, None);
    }

    #[test]
    fn what_was_lost_is_counted() {
        let facts = golden("lost-events");
        assert!(!facts.lossless && facts.lost == 3 && facts.gaps.iter().any(|gap| gap.code == "LOST_EVENTS"));
    }

    #[test]
    fn what_is_no_statement_has_none() {
        assert!(Facts::of(b"", &[0; 32]).is_err());
        assert!(Facts::of(b"{}", &[0; 32]).is_err());
    }

    #[test]
    fn another_payload_than_was_verified_has_none() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v1/complete.intoto.jsonl");
        let envelope = std::fs::read(path).unwrap();
        assert!(matches!(Facts::of(&envelope, &[0; 32]), Err(Error::Another)));
    }
}
