//! Packs as a stranger opens them: whole, changed, cut, and what is none.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use attestation::merkle::Hash;
use attestation::synthetic::{self, Session};
use std::fs::{self, File};
use std::path::PathBuf;
use tar::{Archive, Builder, EntryType, Header};
use testimony_verify::{Args, pack, run_to};

const RECEIPT: &[u8] = include_bytes!("../../attestation/tests/receipts/receipt.tlog-proof");

struct Bench {
    directory: tempfile::TempDir,
    members: Vec<(String, Vec<u8>)>,
}

impl Bench {
    /// A pack of a session that is complete, and its members.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let signed = Session::build().sign(20).unwrap();
        fs::write(at("run.intoto.jsonl"), &signed.envelope).unwrap();
        fs::write(at("key.pub"), synthetic::key().unwrap().public().to_pem().unwrap()).unwrap();
        let object = |(index, (digest, bytes)): (usize, (&Hash, &Vec<u8>))| {
            fs::write(at(&index.to_string()), bytes).unwrap();
            (*digest, File::open(at(&index.to_string())).unwrap())
        };
        let evidence: Vec<(Hash, File)> = signed.objects.iter().enumerate().map(object).collect();
        assert!(evidence.len() > 1);
        let mut bytes = Vec::new();
        let (statement, beside, receipts) = (&at("run.intoto.jsonl"), &[None, None, None, None], &[RECEIPT.to_vec()]);
        pack::write(&mut bytes, &pack::Parts { statement, evidence: &evidence, beside, receipts }).unwrap();
        let mut archive = Archive::new(bytes.as_slice());
        let member = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let (name, mut bytes) = (entry.path().unwrap().display().to_string(), Vec::new());
            std::io::copy(&mut entry, &mut bytes).unwrap();
            (name, bytes)
        };
        let members = archive.entries().unwrap().map(member).collect();
        fs::write(at("run.pack.tar"), bytes).unwrap();
        Self { directory, members }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path("run.pack.tar")).unwrap()
    }

    /// Exit code, and what is printed over these bytes.
    fn verify(&self, bytes: &[u8]) -> (u8, String) {
        fs::write(self.path("other.tar"), bytes).unwrap();
        let (keys, files) = (vec![self.path("key.pub")], vec![self.path("other.tar")]);
        let args = Args { keys, files, ..Args::default() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit_code = run_to("testimony-verify", &args, &mut out, &mut err);
        (exit_code, String::from_utf8(out).unwrap())
    }

    /// A pack of these members.
    fn of(&self, members: &[(String, Vec<u8>)]) -> (u8, String) {
        let mut tar = Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        self.verify(&tar.into_inner().unwrap())
    }
}

#[test]
fn a_pack_is_recomputed_from_its_own_evidence() {
    let bench = Bench::new();
    let (exit_code, said) = bench.verify(&bench.bytes());
    assert!(exit_code == 0 && said.ends_with("COMPLETE (recomputed from the evidence)\n"), "{said}");
    assert_eq!(bench.of(&bench.members), (exit_code, said));
    assert_eq!(bench.members[0].0, "testimony-pack");
    assert!(bench.members.last().unwrap().0.ends_with(".tlog-proof"));
}

#[test]
fn a_pack_that_was_changed_or_cut_is_refused() {
    let bench = Bench::new();
    let whole = bench.bytes();
    let (_, said) = bench.verify(&whole);
    for at in (0..whole.len()).step_by(97) {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        let (exit_code, now) = bench.verify(&changed);
        // What stands between the members says nothing.
        assert!(exit_code != 0 || now == said, "{at}: {now}");
    }
    for length in (0..whole.len() - 1024).step_by(509) {
        assert_ne!(bench.verify(&whole[..length]).0, 0, "{length}");
    }
}

#[test]
fn a_pack_has_what_it_may_have() {
    let bench = Bench::new();
    let with = |change: fn(&mut Vec<(String, Vec<u8>)>)| {
        let mut members = bench.members.clone();
        change(&mut members);
        bench.of(&members)
    };
    let refused = |change: fn(&mut Vec<(String, Vec<u8>)>), says: &str| {
        let (exit_code, said) = with(change);
        assert!(exit_code == 2 && said.contains(says), "{exit_code} {said}");
    };
    refused(|members| members[0].1 = b"2\n".to_vec(), "of version 1");
    refused(|members| drop(members.remove(0)), "of version 1");
    refused(|members| drop(members.remove(1)), "no statement");
    refused(|members| members.push(members[1].clone()), "two statements");
    refused(|members| members.push(members[2].clone()), "a member twice");
    refused(|members| members.push(("../key.pub".replace("../", "x/"), vec![])), "version 1 does not have");
    refused(|members| members.last_mut().unwrap().1.truncate(100), "a receipt");
    let (exit_code, said) = with(|members| drop(members.remove(2)));
    assert!(exit_code == 1 && said.contains("SEGMENT_MISSING"), "{said}");
    let (exit_code, said) = with(|members| members[2].1 = members[3].1.clone());
    assert!(exit_code == 1 && said.contains("SEGMENT_CHANGED"), "{said}");
    let mut link = Header::new_ustar();
    link.set_entry_type(EntryType::Symlink);
    link.set_size(0);
    let mut tar = Builder::new(Vec::new());
    tar.append_link(&mut link, "statement.intoto.jsonl", "/etc/passwd").unwrap();
    let (exit_code, said) = bench.verify(&tar.into_inner().unwrap());
    assert!(exit_code == 2 && said.contains("no regular file"), "{said}");
}
