//! What waits is signed once and in order, wherever whoever signs is killed, and whatever stands in the folders.

use std::{
    cell::RefCell,
    fs::File,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use attestation::{
    dsse,
    statement::{self, Unsigned},
    synthetic::Session,
    verify::{Outcome, Verdict, sequence},
};
use collector_api::Submission;
use prost::Message as _;

use super::*;
use crate::{
    sign,
    waiting::{Place, Said},
};

struct Scene {
    folder: tempfile::TempDir,
    awaited: Awaited,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        let awaited = sign::Args::by(folder.path().join("key")).open().unwrap().awaited().unwrap();
        Self { folder, awaited }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.spool.folder = self.path("spool");
        settings
    }

    /// Has a statement wait; the session is told by its number.
    fn put(&self, number: u8) -> u64 {
        let mut session = Session::build();
        session.id = [number; 16];
        let (trace, head) = (session.trace().unwrap(), session.write(1000).unwrap().0);
        let place = Place::of(&File::open(self.path("out")).unwrap()).unwrap();
        let opened = trace.opened();
        let mut record = Record::new(place, self.awaited.clone(), [&opened.host_id, &opened.boot_id]);
        record.chain = Some(self.path("chain"));
        let unsigned = Unsigned::new(&trace, &head, usize::MAX).unwrap();
        self.put_bytes(number, &record.encode(&unsigned).unwrap())
    }

    fn put_bytes(&self, number: u8, envelope: &[u8]) -> u64 {
        let evidence = self.path(&format!("out/r{number}.evidence"));
        let (kind, evidence) = (spool::Kind::Statement, Some(evidence.as_path()));
        let item = spool::Item { kind, name: "", sha256: [number; 32], envelope, evidence, made_s: 1 };
        self.settings().open_waiting().unwrap().put(&item, 1).unwrap()
    }

    /// An agent of the boot in which the sessions were.
    fn agent(&self) -> Later {
        let boot_id = hex::encode(&Session::build().trace().unwrap().opened().boot_id);
        Later { boot_id, ..Later::open(&self.settings()).unwrap() }
    }

    fn turn(&self) -> Vec<String> {
        let told = RefCell::new(Vec::new());
        self.agent().turn(&|says| told.borrow_mut().push(format!("{says:?}"))).unwrap();
        told.into_inner()
    }

    /// What a run does that ends meanwhile.
    fn run_beside(&self) -> Verdict {
        let mut session = Session::build();
        session.id = [99; 16];
        let (trace, head) = (session.trace().unwrap(), session.write(1000).unwrap().0);
        let ready = self.awaited.open().unwrap().ready().unwrap();
        let (chain, mut meta) = (Chain::open(&self.path("chain")).unwrap(), ready.meta());
        let link = chain.next(&trace.opened().host_id, &meta.signer, &trace.opened().boot_id).unwrap();
        (meta.number, meta.previous) = (Some(link.number), link.previous);
        let mut envelope = Vec::new();
        let (written, _) = ready.write(&mut envelope, |out| statement::write(out, &trace, &head, &meta)).unwrap();
        link.signed(&written.payload_sha256).unwrap();
        self.verdict(&envelope)
    }

    fn verdict(&self, envelope: &[u8]) -> Verdict {
        let key = sign::load(&self.path("key")).unwrap();
        let keys = [key.public().clone()];
        let verdict = verify(envelope, &Options { accept_incomplete: true, ..Options::by_keys(&keys) });
        assert!(!verdict.refused(), "{:?}", verdict.checks);
        verdict
    }

    /// The statements in the spool, in their order; each is in its place too, the same.
    fn delivered(&self) -> Vec<Verdict> {
        let spool = self.settings().spool.open().unwrap();
        let held = spool.waiting(0, u64::MAX).unwrap();
        assert_eq!(spool.state().unwrap().newest, held.len() as u64);
        let verdict = |held: &Held| {
            let envelope = Submission::decode(held.envelope.as_slice()).unwrap().envelope;
            assert_eq!(fs::read(self.path(&format!("out/{}", held.name))).unwrap(), envelope);
            assert_eq!(dsse::read(envelope.as_slice()).unwrap().signatures().len(), 1);
            self.verdict(&envelope)
        };
        held.iter().map(verdict).collect()
    }

    fn waits(&self) -> u64 {
        self.settings().open_waiting().unwrap().state().unwrap().waiting
    }
}

fn numbers(verdicts: &[Verdict]) -> Vec<Option<u64>> {
    verdicts.iter().map(|verdict| verdict.claims.as_ref().unwrap().meta.number).collect()
}

/// Every session once, one chain, of which nothing is missing that was not said to be void.
fn hold(delivered: &[Verdict], beside: Option<Verdict>, count: usize) -> String {
    let sessions: std::collections::BTreeSet<_> =
        delivered.iter().map(|verdict| verdict.claims.as_ref().unwrap().log.session_id).collect();
    assert_eq!((delivered.len(), sessions.len()), (count, count));
    let [check] = sequence(delivered.iter().chain(&beside)).try_into().unwrap();
    assert_eq!(check.outcome, Outcome::Proven, "{}", check.says);
    check.says
}

#[test]
fn what_waits_is_signed_in_order_and_once() {
    let scene = Scene::new();
    for number in 1..=5 {
        scene.put(number);
    }
    let told = scene.turn();
    assert_eq!((told.len(), scene.waits()), (5, 0), "{told:?}");
    assert!(scene.turn().is_empty());
    let delivered = scene.delivered();
    hold(&delivered, None, 5);
    assert_eq!(numbers(&delivered), (1..=5).map(Some).collect::<Vec<_>>());
    let ids: Vec<u8> = delivered.iter().map(|verdict| verdict.claims.as_ref().unwrap().log.session_id[0]).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(fs::metadata(scene.path("out/r1.intoto.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// What is left by an agent that was killed at a step.
type Kill = fn(&Scene, &mut Later, &Held, &Record, &Ready) -> Option<Verdict>;

#[test]
fn wherever_it_is_killed_nothing_is_lost_and_nothing_signed_twice() {
    let quiet = |_: &Told<'_>| ();
    let kills: [(&str, u64, Kill); 8] = [
        ("a number, and no statement", 1, |_, agent, held, record, ready| {
            drop(agent.make(held, record, ready, &|_| ()).unwrap());
            None
        }),
        ("a file that is cut", 1, |scene, agent, held, record, ready| {
            let (signed, _) = agent.make(held, record, ready, &|_| ()).unwrap().unwrap();
            agent.store.prepare(&signed).unwrap();
            let part = scene.path("spool/waiting/signed.part");
            let bytes = fs::read(&part).unwrap();
            fs::write(part, &bytes[..bytes.len() - 1]).unwrap();
            None
        }),
        ("whole, and the chain does not know", 0, |_, agent, held, record, ready| {
            let (signed, _) = agent.make(held, record, ready, &|_| ()).unwrap().unwrap();
            agent.store.prepare(&signed).unwrap();
            None
        }),
        ("the same, and another run signed since", 1, |scene, agent, held, record, ready| {
            let (signed, link) = agent.make(held, record, ready, &|_| ()).unwrap().unwrap();
            agent.store.prepare(&signed).unwrap();
            drop(link);
            Some(scene.run_beside())
        }),
        ("the chain knows, and another run signed since", 0, |scene, agent, held, record, ready| {
            let (signed, link) = agent.make(held, record, ready, &|_| ()).unwrap().unwrap();
            agent.store.prepare(&signed).unwrap();
            link.unwrap().signed_late(&signed.payload_sha256()).unwrap();
            Some(scene.run_beside())
        }),
        ("signed", 0, |scene, agent, held, record, ready| {
            assert!(agent.sign(held, record, ready, &|_| ()).unwrap());
            Some(scene.run_beside())
        }),
        ("delivered", 0, |_, agent, held, record, ready| {
            assert!(agent.sign(held, record, ready, &|_| ()).unwrap());
            let signed = agent.store.signed().unwrap().unwrap();
            agent.deliver(&signed, record, held, &|_| ()).unwrap();
            None
        }),
        ("out of the queue", 0, |_, agent, held, record, ready| {
            assert!(agent.sign(held, record, ready, &|_| ()).unwrap());
            let signed = agent.store.signed().unwrap().unwrap();
            agent.deliver(&signed, record, held, &|_| ()).unwrap();
            agent.waiting.acknowledge(held.number, &[], 2).unwrap();
            None
        }),
    ];
    for (what, void, kill) in kills {
        let scene = Scene::new();
        for number in 1..=3 {
            scene.put(number);
        }
        let mut agent = scene.agent();
        agent.look(&quiet).unwrap();
        // In the middle: the first is signed as ever.
        assert!(agent.try_to(1, &scene.awaited, false, &quiet).unwrap().is_ok());
        let (held, record) = agent.held(2).unwrap().unwrap();
        let ready = agent.signers.ready(&scene.awaited).unwrap();
        let beside = kill(&scene, &mut agent, &held, &record, &ready);
        drop(agent);
        scene.turn();
        let delivered = scene.delivered();
        let says = hold(&delivered, beside, 3);
        assert_eq!(says.contains("skipped"), void > 0, "{what}: {says}");
        assert_eq!(scene.waits(), 0, "{what}");
        let left: Vec<_> =
            fs::read_dir(scene.path("spool/waiting")).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("signed")), "{what}: {left:?}");
    }
}

#[test]
fn whoever_is_away_is_waited_for_and_nobody_else() {
    let mut scene = Scene::new();
    scene.put(1);
    fs::rename(scene.path("key"), scene.path("away")).unwrap();
    let other = sign::Args::by(scene.path("other")).open().unwrap().awaited().unwrap();
    let first = std::mem::replace(&mut scene.awaited, other);
    scene.put(2);
    let (mut agent, began) = (scene.agent(), Instant::now());
    // A moment later: who is away may come back first.
    agent.turn(&|_| ()).unwrap();
    assert_eq!(scene.waits(), 2);
    while scene.waits() == 2 {
        agent.turn(&|_| ()).unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    assert!(scene.waits() == 1 && !scene.path("out/r1.intoto.jsonl").exists() && !scene.path("key").exists());
    assert!(scene.path("out/r2.intoto.jsonl").exists());
    fs::rename(scene.path("away"), scene.path("key")).unwrap();
    scene.turn();
    scene.awaited = first;
    assert!(scene.waits() == 0 && scene.path("out/r1.intoto.jsonl").exists());
}

#[test]
fn one_of_another_boot_has_no_number_and_disturbs_no_chain() {
    let scene = Scene::new();
    scene.put(1);
    let chain = Chain::open(&scene.path("chain")).unwrap();
    let link = chain.next(b"host", "key", b"this boot, 16 by").unwrap();
    link.signed(&[1; 32]).unwrap();
    Later::open(&scene.settings()).unwrap().turn(&|_| ()).unwrap();
    let delivered = scene.delivered();
    assert_eq!(numbers(&delivered), [None]);
    assert_eq!(chain.next(b"host", "key", b"this boot, 16 by").unwrap().previous, Some([1; 32]));
}

#[test]
fn what_is_no_statement_is_kept_aside_and_holds_up_nothing() {
    let scene = Scene::new();
    scene.put_bytes(1, b"{}\n{}");
    scene.put_bytes(2, b"");
    scene.put(3);
    assert_eq!(scene.turn().len(), 3);
    assert_eq!((scene.delivered().len(), scene.waits()), (1, 0));
    assert_eq!(scene.settings().open_waiting().unwrap().refused().unwrap().len(), 2);
}

#[test]
fn a_link_or_a_folder_in_the_place_of_what_is_signed_is_not_followed() {
    let scene = Scene::new();
    scene.put(1);
    let (name, other) = (|name: &str| scene.path("spool/waiting").join(name), scene.path("other"));
    fs::write(&other, "of somebody else").unwrap();
    symlink(&other, name("signed.part")).unwrap();
    assert!(scene.agent().turn(&|_| ()).is_err());
    fs::remove_file(name("signed.part")).unwrap();
    fs::create_dir(name("signed")).unwrap();
    assert!(scene.agent().turn(&|_| ()).is_err());
    fs::remove_dir(name("signed")).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "of somebody else");
    // A folder that others may write to is not used at all.
    fs::set_permissions(scene.path("spool/waiting"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Later::open(&scene.settings()).is_err());
    fs::set_permissions(scene.path("spool/waiting"), fs::Permissions::from_mode(0o700)).unwrap();
    scene.turn();
    assert_eq!(scene.delivered().len(), 1);
}

#[test]
fn two_agents_do_not_sign_at_once() {
    let scene = Scene::new();
    scene.put(1);
    let first = scene.agent();
    first.lock.take().unwrap();
    assert!(matches!(scene.agent().turn(&|_| ()), Err(Error::Other)));
    drop(first);
    scene.turn();
    assert_eq!(scene.waits(), 0);
}

#[test]
fn where_its_folder_is_gone_it_is_delivered_all_the_same() {
    let scene = Scene::new();
    scene.put(1);
    fs::remove_dir(scene.path("out")).unwrap();
    fs::create_dir(scene.path("out")).unwrap();
    let told = scene.turn();
    assert!(told.len() == 1 && told[0].contains("Err"), "{told:?}");
    let spool = scene.settings().spool.open().unwrap();
    assert_eq!((spool.state().unwrap().waiting, scene.waits()), (1, 0));
    assert_eq!(fs::read_dir(scene.path("out")).unwrap().count(), 0);
}

#[test]
fn what_was_dropped_is_kept_with_what_says_so() {
    let dropped = spool::Dropped {
        spool: [7; 16],
        counts: spool::Counts { full: 1, old: 2, refused: 3 },
        until: spool::Counts { full: 4, old: 5, refused: 6 },
        first_s: Some(7),
        last_s: None,
    };
    assert_eq!(Said::from(&dropped).dropped(), Some(dropped));
}

#[test]
fn what_is_given_up_is_kept_aside_unless_it_is_signed() {
    let scene = Scene::new();
    let (first, second) = (scene.put(1), scene.put(2));
    let mut agent = scene.agent();
    let (held, record) = agent.held(first).unwrap().unwrap();
    let ready = agent.signers.ready(&scene.awaited).unwrap();
    assert!(agent.sign(&held, &record, &ready, &|_| ()).unwrap());
    assert!(!agent.give_up(first).unwrap() && agent.give_up(second).unwrap() && !agent.give_up(second).unwrap());
    drop(agent);
    scene.turn();
    assert_eq!((scene.delivered().len(), scene.waits()), (1, 0));
    assert_eq!(scene.settings().open_waiting().unwrap().refused().unwrap()[0].code, "RECOVERED");
}
