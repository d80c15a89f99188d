//! Sessions that the agent opens by itself: of containers, by real podman and runc; of units, by their cgroups.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::{Scratch, Unit, ended, kernel, need};

use crate::node::{Node, files};

/// Whether these tests run: guests have no container runtime.
fn here() -> bool {
    if kernel() == "host" {
        return true;
    }
    println!("NOT RUN: containers are started on this kernel alone");
    false
}

/// podman with a store of its own, and an image in it.
struct Podman {
    scratch: Scratch,
}

const IMAGE: &str = "localhost/tiny:1";

impl Podman {
    fn new() -> Self {
        let this = Self { scratch: Scratch::new() };
        let bin = this.scratch.folder("root/bin");
        fs::copy(need("busybox"), bin.join("busybox")).expect("copied");
        for applet in ["sh", "cat", "sleep", "true"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("linked");
        }
        let settings = "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\npids_limit=0\nnetns=\"none\"\n\
                        [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nruntime=\"runc\"\n";
        this.scratch.write("containers.conf", settings);
        let tar = this.scratch.join("root.tar");
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(this.scratch.join("root")).args(["-c", "-f"]).arg(&tar).arg(".");
        assert!(pack.status().expect("tar runs").success());
        ended(&this.podman(&["import", "--quiet", tar.to_str().expect("text"), IMAGE]), 0);
        this
    }

    fn store(&self) -> PathBuf {
        self.scratch.join("store")
    }

    fn podman(&self, words: &[&str]) -> Output {
        let mut podman = Command::new(need("podman"));
        podman.env("CONTAINERS_CONF", self.scratch.join("containers.conf")).args(["--storage-driver", "vfs", "--root"]);
        podman.arg(self.store()).arg("--runroot").arg(self.scratch.join("run"));
        podman.arg("--tmpdir").arg(self.scratch.join("tmp")).args(words).output().expect("podman runs")
    }

    /// Digest of the image's manifest, as podman says it.
    fn digest(&self) -> String {
        let said = self.podman(&["image", "inspect", "--format", "{{.Digest}}", IMAGE]);
        ended(&said, 0);
        String::from_utf8(said.stdout).expect("text").trim().trim_start_matches("sha256:").to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--all", "--force"]);
    }
}

fn commands(statement: &Value) -> Vec<String> {
    let processes = statement["predicate"]["monitorLog"]["process"].as_array().expect("a list");
    processes.iter().map(|process| process.to_string()).collect()
}

#[test]
fn a_containers_first_program_is_in_its_session_with_its_image() {
    if !here() {
        return;
    }
    let podman = Podman::new();
    let node = Node::start(&format!("containers = true\n[sessions.stores]\nstorage = [{:?}]\n", podman.store()));
    ended(&podman.podman(&["run", "--name", "one", IMAGE, "sh", "-c", "cat /bin/busybox > /dev/null"]), 0);
    let signed = node.session("container", "signed");
    assert!(signed["name"].as_str().is_some_and(|name| name.starts_with("one ")), "{signed}");
    assert!(signed["image"].as_str().is_some_and(|image| image.ends_with(&podman.digest())), "{signed}");
    let statement = node.complete(signed["statement"].as_str().expect("a path"));
    assert_eq!(statement["subject"][0]["digest"]["sha256"], podman.digest());
    let said = &statement["predicate"]["testimony"]["session"]["container"];
    assert_eq!((&said["runtime"], &said["image"], &said["name"]), (&json!("podman"), &json!(IMAGE), &json!("one")));
    let commands = commands(&statement);
    // From the process on that the runtime moved in, to the container's own program.
    assert!(commands[0].contains("\"origin\":\"root\""), "{commands:?}");
    assert!(commands.iter().any(|command| command.contains("\"sh\",\"-c\"")), "{commands:?}");
    assert!(commands.iter().any(|command| command.contains("cat /bin/busybox")), "{commands:?}");
    assert!(files(&statement).iter().any(|file| file.ends_with("/bin/busybox")));
}

#[test]
fn containers_at_once_know_only_their_own() {
    if !here() {
        return;
    }
    let podman = Podman::new();
    let node = Node::start(&format!("containers = true\n[sessions.stores]\nstorage = [{:?}]\n", podman.store()));
    let script = |name: &str| format!("echo > /own-{name}; sleep 1");
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let (podman, script) = (&podman, script(name));
            scope.spawn(move || ended(&podman.podman(&["run", "--name", name, IMAGE, "sh", "-c", &script]), 0));
        }
    });
    let signed = || node.list(0).into_iter().filter(|session| session["state"] == "signed").collect::<Vec<_>>();
    node.wait("all three are signed", || signed().len() == 3);
    for session in signed() {
        let name = session["name"].as_str().and_then(|name| name.split(' ').next()).expect("a name").to_owned();
        let statement = node.complete(session["statement"].as_str().expect("a path"));
        let own: Vec<String> = files(&statement).into_iter().filter(|file| file.contains("/own-")).collect();
        assert_eq!(own, [format!("/own-{name}")]);
    }
}

#[test]
fn a_unit_is_traced_by_its_name() {
    let node = Node::start("units = [\"build-*.service\"]\n");
    let unit = Unit::new("build-7.service");
    let script = format!("echo $$ > {}/cgroup.procs; cat /etc/hostname > /dev/null; exec true", unit.path().display());
    assert!(Command::new("sh").args(["-c", &script]).status().expect("it runs").success());
    let signed = node.session("unit", "signed");
    assert_eq!(signed["name"], "build-7.service");
    let statement = node.complete(signed["statement"].as_str().expect("a path"));
    assert!(files(&statement).iter().any(|file| file.ends_with("/etc/hostname")));
}

#[test]
fn what_has_no_place_is_counted_and_said() {
    let node = Node::start("units = [\"other-*.service\"]\nat_once_max = 4\n");
    // None is lent to the kernel side: four are kept for whoever asks.
    let unit = Unit::new("other-8.service");
    node.wait("it is said", || node.said().contains("no place was free"));
    drop(unit);
    ended(&node.run(0, "out", "true").output().expect("it runs"), 0);
    let statement = node.statement("work/out.intoto.jsonl").to_string();
    assert!(statement.contains("SESSIONS_NOT_OPENED"), "{statement}");
}
