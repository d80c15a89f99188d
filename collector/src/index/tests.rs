//! Statements are found by what they say; chains as they grow are as chains that are read whole; and an index of another store is made again.

use std::path::Path;

use attestation::{dsse, hex};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    chains, clock,
    facts::Facts,
    store::{Kept, Limits, Listed, Statement, Store},
};

/// Of a store that has room.
pub(crate) const LIMITS: Limits = Limits { bytes_max: 1 << 30, free_min: 0 };

/// Golden statements, as a collector would have kept them.
pub(crate) fn golden() -> Vec<Statement> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v1");
    let statement = |(number, name): (u64, &str)| {
        let envelope = std::fs::read(folder.join(format!("{name}.intoto.jsonl"))).unwrap();
        let payload = dsse::read(envelope.as_slice()).unwrap().into_unverified();
        let payload_sha256 = Sha256::digest(&payload).into();
        Statement {
            sha256: payload_sha256,
            payload_sha256,
            envelope,
            entry: vec![u8::try_from(number).unwrap()],
            received_s: 1000 + number,
            peer: "spiffe://a/node".to_owned(),
            signer: "signer".to_owned(),
            host: format!("host{}", number % 2),
            boot: "boot".to_owned(),
            complete: name == "complete",
            ..Statement::default()
        }
    };
    (0..).zip(["complete", "dns", "lost-events"]).map(statement).collect()
}

/// A store with them, and its index.
pub(crate) fn kept() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), LIMITS).unwrap();
    store::tests::keep(&mut store, &golden());
    drop(store);
    crate::follow::reindex(folder.path()).unwrap();
    folder
}

fn page(limit: u32) -> Page {
    Page { cursor: None, limit: Some(limit) }
}

#[test]
fn statements_are_found_by_each_thing_and_by_all_at_once() {
    let folder = kept();
    let index = Reader::open(folder.path()).unwrap();
    let product: [u8; 32] =
        hex::decode_sha256("e81397947e6b8d697d7f53062e407d409b991457e5be7f2be2eb0dd3356a8e7d").unwrap();
    let text = |text: &str| Some(text.to_owned());
    let places = |filter: Filter| -> Vec<u64> {
        index.statements(&filter, &page(10)).unwrap().0.into_iter().map(|row| row.place).collect()
    };
    assert_eq!(places(Filter::default()), [2, 1, 0]);
    assert_eq!(places(Filter { host: text("host1"), ..Filter::default() }), [1]);
    assert_eq!(places(Filter { identity: text("signer"), ..Filter::default() }), [2, 1, 0]);
    assert_eq!(places(Filter { identity: text("spiffe://a/node"), ..Filter::default() }), [2, 1, 0]);
    assert_eq!(places(Filter { identity: text("spiffe://a/nod"), ..Filter::default() }), [] as [u64; 0]);
    assert_eq!(places(Filter { complete: Some(true), ..Filter::default() }), [0]);
    assert_eq!(places(Filter { complete: Some(false), ..Filter::default() }), [2, 1]);
    assert_eq!(places(Filter { gap: text("LOST_EVENTS"), ..Filter::default() }), [2]);
    assert_eq!(places(Filter { from_s: Some(1001), to_s: Some(1002), ..Filter::default() }), [1]);
    assert!(places(Filter { subject: Some(product), ..Filter::default() }).contains(&0));
    let all = Filter { subject: Some(product), host: text("host0"), complete: Some(true), ..Filter::default() };
    assert_eq!(places(all.clone()), [0]);
    assert_eq!(places(Filter { host: text("host1"), ..all }), [] as [u64; 0]);
    // What would be SQL is a text like any other.
    assert_eq!(places(Filter { host: text("' OR 1=1 --"), ..Filter::default() }), [] as [u64; 0]);
}

#[test]
fn pages_follow_each_other_without_a_gap_and_end() {
    let folder = kept();
    let index = Reader::open(folder.path()).unwrap();
    let (mut page, mut places) = (page(1), Vec::new());
    loop {
        let (rows, next) = index.statements(&Filter::default(), &page).unwrap();
        places.extend(rows.into_iter().map(|row| row.place));
        let Some(next) = next else { break };
        page.cursor = Some(next);
    }
    assert_eq!(places, [2, 1, 0]);
    for limit in [0, LIMIT_MAX + 1, u32::MAX] {
        assert!(matches!(index.statements(&Filter::default(), &self::page(limit)), Err(Bad::Limit)), "{limit}");
    }
    for cursor in ["", "x", "W10", "WzEsMl0", "W251bGxd"] {
        let page = Page { cursor: Some(cursor.to_owned()), limit: None };
        assert!(matches!(index.statements(&Filter::default(), &page), Err(Bad::Cursor)), "{cursor}");
    }
}

#[test]
fn contents_peers_and_gaps_lead_to_their_statements() {
    let folder = kept();
    let index = Reader::open(folder.path()).unwrap();
    let product = hex::decode_sha256("e81397947e6b8d697d7f53062e407d409b991457e5be7f2be2eb0dd3356a8e7d").unwrap();
    let (written, _) = index.files(&product, Some("write"), &page(10)).unwrap();
    assert!(written.iter().any(|row| row.of.place == 0 && row.path == "/src/tool.tmp"), "{written:?}");
    assert!(written.iter().all(|row| row.access.contains(&"write")));
    assert!(index.files(&[0; 32], None, &page(10)).unwrap().0.is_empty());
    assert!(matches!(index.files(&product, Some("path"), &page(10)), Err(Bad::Access)));
    let peers = |peer: &str| index.contacts(peer, &page(10)).unwrap().0;
    assert!(peers("2001:db8:0::1").iter().any(|row| row.port == 443 && row.address == "2001:db8::1"));
    assert!(peers("A.").iter().any(|row| row.of.place == 1 && row.address == "2001:db8::1"), "{:?}", peers("a"));
    assert!(peers("192.0.2.99").is_empty());
    let (gaps, _) = index.gaps(None, Some("LOST_EVENTS"), &page(10)).unwrap();
    assert_eq!(gaps.iter().map(|row| (row.of.place, row.gap.count)).collect::<Vec<_>>(), [(2, 3)]);
    let (gaps, _) = index.gaps(Some("host0"), None, &page(10)).unwrap();
    assert!(gaps.iter().all(|row| row.gap.ends_completeness && row.of.host == "host0"));
    let detail = index.statement(&golden()[2].payload_sha256).unwrap().unwrap();
    assert!(detail.gaps.iter().any(|gap| gap.code == "LOST_EVENTS") && !detail.subjects.is_empty());
    assert_eq!(index.statement(&[0; 32]).unwrap(), None);
    let (hosts, _) = index.hosts(None, &page(10)).unwrap();
    assert_eq!(hosts.iter().map(|host| (host.statements, host.incomplete)).collect::<Vec<_>>(), [(2, 1), (1, 1)]);
    assert_eq!(index.hosts(Some(1002), &page(10)).unwrap().0.len(), 1);
    // No statement of these has a container.
    assert_eq!(index.images(&page(10)).unwrap().0, []);
    let totals = index.totals(Some(1002)).unwrap();
    assert_eq!(
        (totals.recent, totals.recent_complete, totals.hosts, totals.hosts_silent, totals.indexed),
        (3, 1, 2, 1, 3)
    );
}

#[test]
fn an_image_is_listed_as_not_verified() {
    let folder = kept();
    let index = Index::open(folder.path()).unwrap();
    index
        .connection
        .execute("UPDATE statement SET image = 'a', image_sha256 = ?1 WHERE place < 2", [[7_u8; 32]])
        .unwrap();
    index.connection.execute("UPDATE statement SET image = 'b' WHERE place = 2", ()).unwrap();
    let (images, _) = Reader::open(folder.path()).unwrap().images(&page(10)).unwrap();
    let listed: Vec<_> =
        images.iter().map(|row| (row.image.as_str(), row.image_sha256.is_some(), row.statements, row.hosts)).collect();
    assert_eq!(listed, [("a", true, 2, 2), ("b", false, 1, 1)]);
    assert!(images.iter().all(|row| row.verification == "not-verified"));
}

#[test]
fn a_question_that_takes_too_long_is_ended() {
    let folder = kept();
    let index = Reader::open(folder.path()).unwrap();
    index.end_now();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let error = Error::from(index.connection().query_row(endless, (), |row| row.get::<_, i64>(0)).unwrap_err());
    assert!(error.is_too_costly(), "{error}");
    assert!(index.statements(&Filter::default(), &page(1)).is_ok());
}

#[test]
fn an_index_of_another_store_is_made_again() {
    let folder = kept();
    let other = tempfile::tempdir().unwrap();
    let mut store = Store::open(other.path(), LIMITS).unwrap();
    store::tests::keep(&mut store, &golden()[1..]);
    drop(store);
    std::fs::copy(folder.path().join(schema::FILE), other.path().join(schema::FILE)).unwrap();
    assert_eq!(Index::open(other.path()).unwrap().next().unwrap(), 0);
    assert_eq!(Index::open(folder.path()).unwrap().next().unwrap(), 3);
    // One of another program is left alone.
    std::fs::copy(folder.path().join("collector.db"), other.path().join(schema::FILE)).unwrap();
    assert!(matches!(Index::open(other.path()), Err(Error::Foreign)));
}

/// Statements of a chain: number, payload, the payload before.
type Links<'a> = &'a [(u64, u8, Option<u8>)];

fn listed(&(number, payload, previous): &(u64, u8, Option<u8>)) -> Listed {
    Listed {
        place: 0,
        payload_sha256: [payload; 32],
        received_s: 0,
        peer: String::new(),
        signer: "s".to_owned(),
        host: "h".to_owned(),
        boot: "b".to_owned(),
        number: Some(number),
        previous: previous.map(|byte| [byte; 32]),
        complete: true,
    }
}

/// What is missing, and whether it contradicts itself, once they came in this order.
fn grown(order: &[Listed]) -> (Vec<[u64; 2]>, bool) {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), LIMITS).unwrap());
    let index = Index::open(folder.path()).unwrap();
    for (place, listed) in (0..).zip(order) {
        let Listed { payload_sha256, number, previous, .. } = *listed;
        let Listed { signer, host, boot, .. } = listed.clone();
        let kept =
            Kept { payload_sha256, signer, host, boot, number, previous, received_s: clock::now(), ..Kept::default() };
        Index::add(&index.connection, place, kept, Facts::default()).unwrap();
    }
    let (chains, _) = Reader::open(folder.path()).unwrap().chains(false, &page(10)).unwrap();
    (chains[0].missing.clone(), !chains[0].contradicts.is_empty())
}

fn orders(all: &[Listed]) -> Vec<Vec<Listed>> {
    if all.len() < 2 {
        return vec![all.to_vec()];
    }
    let with = |first: usize| {
        let mut rest = all.to_vec();
        let first = rest.remove(first);
        orders(&rest).into_iter().map(move |rest| [vec![first.clone()], rest].concat())
    };
    (0..all.len()).flat_map(with).collect()
}

#[test]
fn a_chain_in_any_order_is_as_it_is_read_whole() {
    let whole: Links<'_> = &[(1, 1, None), (2, 2, Some(1)), (3, 3, Some(2)), (4, 4, Some(3))];
    let skipped: Links<'_> = &[(1, 1, None), (4, 4, Some(1)), (5, 5, Some(4))];
    let gaps: Links<'_> = &[(3, 3, Some(2)), (4, 4, Some(3)), (7, 7, Some(6)), (8, 8, Some(7))];
    let forks: [Links<'_>; 4] = [
        &[(1, 1, None), (1, 9, None)],
        &[(1, 1, None), (2, 2, Some(1)), (3, 3, Some(1))],
        &[(1, 1, None), (2, 2, Some(8))],
        &[(1, 1, None), (2, 2, None)],
    ];
    for (links, forked) in
        [(whole, false), (skipped, false), (gaps, false)].into_iter().chain(forks.map(|links| (links, true)))
    {
        let all: Vec<Listed> = links.iter().map(listed).collect();
        let (missing, contradicts) = chains::of(&all);
        assert_eq!(!contradicts.is_empty(), forked);
        for order in orders(&all) {
            assert_eq!(
                grown(&order),
                (missing.clone(), forked),
                "{:?}",
                order.iter().map(|listed| listed.number).collect::<Vec<_>>()
            );
        }
    }
}
