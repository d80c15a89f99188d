//! What a run that died can leave, and what becomes of it.

use std::{fs, path::PathBuf};

use attestation::{codes, synthetic::Session};
use testimony_verify::files::Directory;

use super::*;

/// A directory with the evidence of a synthetic session, and no statement.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new(session: &Session, frames_per_segment: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let evidence = directory.path().join("r.evidence");
        fs::create_dir(&evidence).unwrap();
        for (sha256, object) in session.write(frames_per_segment).unwrap().1 {
            fs::write(evidence.join(attestation::hex::encode(&sha256)), object).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn last_segment(&self) -> PathBuf {
        Directory::new(self.path("r.evidence")).segments().unwrap().pop().unwrap()
    }

    /// Cuts the last segment, as a kill does, and leaves it open.
    fn cut(&self, bytes: usize) {
        let last = self.last_segment();
        let object = fs::read(&last).unwrap();
        fs::remove_file(last).unwrap();
        fs::write(self.path("r.evidence/open-9"), &object[..object.len() - bytes]).unwrap();
    }

    fn recover(&self) -> Result<u8, Error> {
        self.recover_as(None)
    }

    fn recover_as(&self, agent_config: Option<PathBuf>) -> Result<u8, Error> {
        let signers = sign::Args::by(self.path("key"));
        run(&Args { name: self.path("r"), signers, agent_config, instead_of_waiting: false, json: true })
    }

    /// The codes that the signed statement gives, once a verifier took it as incomplete.
    fn signed_gaps(&self) -> Vec<String> {
        let key = sign::load(&self.path("key")).unwrap();
        let objects = Directory::new(self.path("r.evidence"));
        let options = Options {
            evidence: Some(&objects),
            accept_incomplete: true,
            ..Options::by_keys(std::slice::from_ref(key.public()))
        };
        let verdict = verify(File::open(self.path("r.intoto.jsonl")).unwrap(), &options);
        assert!(!verdict.refused() && !verdict.complete && verdict.recomputed, "{:?}", verdict.checks);
        verdict.gaps.into_iter().map(|gap| gap.code).collect()
    }
}

#[test]
fn a_cut_segment_is_sealed_with_its_whole_frames() {
    // Cut in the last block, which is lost with it; cut in the checksum, behind every frame.
    for (frames_per_segment, bytes) in [(20, 20), (1000, 4)] {
        let bench = Bench::new(&Session::build(), frames_per_segment);
        bench.cut(bytes);
        fs::write(bench.path("r.evidence/reserve"), "x").unwrap();
        assert_eq!(bench.recover().unwrap(), 0);
        let gaps = bench.signed_gaps();
        let has = |code: &str| gaps.iter().any(|gap| gap == code);
        assert!(has(codes::RECOVERED) && has(codes::NOT_CLOSED) == (bytes == 20), "{gaps:?}");
        assert!(!bench.path("r.evidence/open-9").exists() && !bench.path("r.evidence/reserve").exists());
    }
}

#[test]
fn a_log_that_was_closed_and_never_signed_is_incomplete_for_its_recovery_alone() {
    let bench = Bench::new(&Session::build(), 1000);
    bench.recover().unwrap();
    assert_eq!(bench.signed_gaps(), [codes::RECOVERED]);
    assert_eq!(fs::read_dir(bench.path("r.evidence")).unwrap().count(), 1);
}

#[test]
fn a_segment_of_which_nothing_was_written_is_left_out() {
    let bench = Bench::new(&Session::build_open(), 20);
    fs::write(bench.path("r.evidence/open-9"), "").unwrap();
    bench.recover().unwrap();
    assert!(bench.signed_gaps().iter().any(|gap| gap == codes::RECOVERED));
    assert!(!bench.path("r.evidence/open-9").exists());
}

#[test]
fn a_recovery_that_died_can_be_run_again() {
    let bench = Bench::new(&Session::build(), 20);
    bench.cut(20);
    let before = fs::read(bench.path("r.evidence/open-9")).unwrap();
    bench.recover().unwrap();
    let gaps = bench.signed_gaps();
    // As if it had died before the statement: old and new segment stand side by side.
    fs::remove_file(bench.path("r.intoto.jsonl")).unwrap();
    let old = bench.path("r.evidence/open-9");
    fs::write(&old, before).unwrap();
    let earlier = fs::metadata(&old).unwrap().modified().unwrap() - std::time::Duration::from_secs(60);
    File::options().write(true).open(&old).unwrap().set_modified(earlier).unwrap();
    fs::write(bench.path("r.evidence/recovering"), "half").unwrap();
    bench.recover().unwrap();
    assert_eq!(bench.signed_gaps(), gaps);
    assert!(!old.exists());
}

#[test]
fn what_was_signed_is_not_recovered() {
    let bench = Bench::new(&Session::build(), 1000);
    fs::write(bench.path("r.intoto.jsonl"), "").unwrap();
    assert!(matches!(bench.recover(), Err(Error::Signed(_))));
}

#[test]
fn what_is_still_written_is_not_recovered() {
    let bench = Bench::new(&Session::build(), 1000);
    let held = Hold::take(&bench.path("r.evidence")).unwrap();
    assert!(matches!(bench.recover(), Err(Error::Evidence(evidence::Error::Alive(_)))));
    drop(held);
    bench.recover().unwrap();
}

#[test]
fn without_a_session_there_is_nothing_to_sign_and_no_key_is_made() {
    let bench = Bench::new(&Session::default(), 1000);
    fs::remove_dir_all(bench.path("r.evidence")).unwrap();
    assert!(matches!(bench.recover(), Err(Error::NoEvidence(_))));
    fs::create_dir(bench.path("r.evidence")).unwrap();
    assert!(matches!(bench.recover(), Err(Error::Empty(_))));
    for foreign in [&b""[..], b"foreign", &[0; 4096]] {
        fs::write(bench.path("r.evidence/open-0"), foreign).unwrap();
        assert!(matches!(bench.recover(), Err(Error::Empty(_))));
    }
    assert!(!bench.path("key").exists());
}

#[test]
fn a_sealed_segment_that_was_changed_or_lost_is_refused() {
    let bench = Bench::new(&Session::build(), 20);
    let first = Directory::new(bench.path("r.evidence")).segments().unwrap().remove(0);
    let whole = fs::read(&first).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&first, changed).unwrap();
    assert_eq!(bench.recover().unwrap_err().status(), 2);
    fs::remove_file(&first).unwrap();
    assert_eq!(bench.recover().unwrap_err().status(), 2);
    fs::write(bench.path("r.evidence/other"), &whole).unwrap();
    assert!(matches!(bench.recover(), Err(Error::Renamed(_))));
    assert!(!bench.path("r.intoto.jsonl").exists() && !bench.path("r.intoto.jsonl.part").exists());
}

#[test]
fn what_the_run_claimed_and_never_wrote_goes_and_what_is_not_its_own_stays() {
    let bench = Bench::new(&Session::build(), 1000);
    for name in ["r.quote.intoto.jsonl.part", "r.firmware-log.part", "r.sigstore.json.part"] {
        fs::write(bench.path(name), "").unwrap();
    }
    fs::write(bench.path("other"), "of somebody else").unwrap();
    std::os::unix::fs::symlink(bench.path("other"), bench.path("r.ima-list.part")).unwrap();
    for name in ["q.quote.intoto.jsonl.part", "r.quote.intoto.jsonl", "r.txt.part"] {
        fs::write(bench.path(name), "").unwrap();
    }
    bench.recover().unwrap();
    let mut left: Vec<String> = fs::read_dir(bench.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".part") || name.contains("quote"))
        .collect();
    left.sort();
    assert_eq!(left, ["q.quote.intoto.jsonl.part", "r.ima-list.part", "r.quote.intoto.jsonl", "r.txt.part"]);
    assert_eq!(fs::read_to_string(bench.path("other")).unwrap(), "of somebody else");
}

#[test]
fn what_is_recovered_by_the_agents_configuration_is_in_the_spool_once() {
    let bench = Bench::new(&Session::build(), 1000);
    let (config, folder) = (bench.path("agent.toml"), bench.path("spool"));
    let tls = "[tls]\ncertificate = 'c'\nkey = 'k'\nauthorities = 'a'\n[collector]\nhost = 'c'\n";
    fs::write(&config, format!("[spool]\nfolder = {folder:?}\n{tls}")).unwrap();
    let settings: Settings = config::read(&config).unwrap();
    bench.recover_as(Some(config.clone())).unwrap();
    // As if it had died before the statement had its name.
    fs::remove_file(bench.path("r.intoto.jsonl")).unwrap();
    bench.recover_as(Some(config)).unwrap();
    let held = settings.spool.open().unwrap().waiting(0, u64::MAX).unwrap();
    assert_eq!((held.len(), held[0].name.as_str()), (1, "r.intoto.jsonl"));
}
