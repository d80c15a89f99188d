//! Real commands to trace: everything they need is made outside the session.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::place::{Scratch, need};
use crate::program::PYTHON;

/// A command in its folder.
#[derive(Debug)]
pub struct Work {
    /// Where it runs.
    pub folder: PathBuf,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables beside the test's own.
    pub environment: Vec<(&'static str, String)>,
}

/// Source files of the C library.
const SOURCES: u32 = 40;

fn work(folder: PathBuf, words: &[&str]) -> Work {
    let program = need(words[0]);
    let mut command = vec![program.into_os_string()];
    command.extend(words[1..].iter().map(OsString::from));
    Work { folder, command, environment: Vec::new() }
}

fn set_up(folder: &Path, words: &[&str]) {
    let mut command = Command::new(need(words[0]));
    let done = command.args(&words[1..]).current_dir(folder).output();
    let done = done.unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")));
    assert!(done.status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr));
}

/// One C file with a header.
#[must_use]
pub fn gcc(scratch: &Scratch) -> Work {
    let source = "#include <stdio.h>\n#include \"greeting.h\"\nint main(void) { return puts(GREETING) < 0; }\n";
    scratch.write("work/hello.c", source);
    scratch.write("work/greeting.h", "#define GREETING \"hello\"\n");
    work(scratch.join("work"), &["gcc", "-O1", "-Wall", "-o", "hello", "hello.c"])
}

/// A static and a shared library of forty files, two at a time.
#[must_use]
pub fn make(scratch: &Scratch) -> Work {
    let mut header = String::from("#include <stddef.h>\n");
    for number in 0..SOURCES {
        header += &format!("size_t part_{number}(const char *text);\n");
        let source = format!(
            "#include <string.h>\n#include <stdlib.h>\n#include \"parts.h\"\n\
             size_t part_{number}(const char *text) {{ return strlen(text) + {number}; }}\n"
        );
        scratch.write(format!("work/part-{number}.c"), source);
    }
    scratch.write("work/parts.h", header);
    let rules = "SOURCES := $(wildcard part-*.c)\nOBJECTS := $(SOURCES:.c=.o)\n\
                 all: libparts.a libparts.so\n\
                 %.o: %.c parts.h\n\t$(CC) -O1 -fPIC -c -o $@ $<\n\
                 libparts.a: $(OBJECTS)\n\trm -f $@\n\tar rcs $@ $^\n\
                 libparts.so: $(OBJECTS)\n\t$(CC) -shared -o $@.new $^\n\tmv $@.new $@\n";
    scratch.write("work/Makefile", rules);
    let _ = (need("gcc"), need("ar"));
    work(scratch.join("work"), &["make", "-j2"])
}

/// A program and two libraries, one with a build script.
#[must_use]
pub fn cargo(scratch: &Scratch) -> Work {
    let package = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{rest}")
    };
    scratch.write("work/Cargo.toml", "[workspace]\nresolver = \"2\"\nmembers = [\"one\", \"two\", \"three\"]\n");
    scratch.write("work/one/Cargo.toml", package("one", ""));
    scratch.write("work/one/src/lib.rs", "pub fn one() -> u32 { 1 }\n");
    scratch.write("work/two/Cargo.toml", package("two", "build = \"build.rs\"\n"));
    let build = "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); }\n";
    scratch.write("work/two/build.rs", build);
    scratch.write("work/two/src/lib.rs", "pub fn two() -> u32 { 2 }\n");
    let depends = "[dependencies]\none = { path = \"../one\" }\ntwo = { path = \"../two\" }\n";
    scratch.write("work/three/Cargo.toml", package("three", depends));
    scratch.write("work/three/src/main.rs", "fn main() { println!(\"{}\", one::one() + two::two()) }\n");
    let mut work = work(scratch.join("work"), &["cargo", "build", "--offline"]);
    let target = work.folder.join("target").into_os_string().into_string();
    work.environment.push(("CARGO_TARGET_DIR", target.unwrap_or_else(|path| panic!("{path:?} is not UTF-8"))));
    work
}

/// A peer outside the session.
#[derive(Debug)]
pub struct Server(u16);

impl Server {
    /// Starts it; it sends back what it is sent.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("loopback: {error}"));
        let port = listener.local_addr().unwrap_or_else(|error| panic!("loopback: {error}")).port();
        thread::spawn(move || {
            for peer in listener.incoming().flatten() {
                let _ = std::io::copy(&mut &peer, &mut &peer);
            }
        });
        Self(port)
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0
    }
}

/// Imports, threads, connections to a port that answers and to others that do not, a temporary file, a child, a rename.
#[must_use]
pub fn python(scratch: &Scratch, port: u16) -> Work {
    let script = r#"
import csv, email.message, http.client, json, sqlite3, ssl, subprocess, sys, tempfile, threading, xml.dom.minidom
import os, socket
import helper
port = int(sys.argv[1])
def talk():
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"x" * 10)
        assert peer.recv(10, socket.MSG_WAITALL) == b"x" * 10
threads = [threading.Thread(target=talk) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for address in ("/no/such/socket", "\0testimony-no-such-socket"):
    try: socket.socket(socket.AF_UNIX).connect(address)
    except OSError: pass
try: socket.create_connection(("127.0.0.1", 1))
except OSError: pass
with tempfile.NamedTemporaryFile(dir=".") as file: file.write(b"x")
subprocess.run([sys.executable, "-c", "import json"], check=True)
with open("result.json.new", "w") as file: json.dump({"odd \n\xff name": helper.VALUE}, file)
os.rename("result.json.new", "result.json")
"#;
    scratch.write("work/script.py", script);
    scratch.write("work/helper.py", "VALUE = 1\n");
    work(scratch.join("work"), &[PYTHON, "script.py", &port.to_string()])
}

/// A clone of a repository with one commit, a tag, sixty files.
#[must_use]
pub fn git(scratch: &Scratch) -> Work {
    let origin = scratch.folder("work/origin");
    // Enough for those to be few that are read in the tick in which the clone links them, of which no digest can be sure.
    for number in 0..400 {
        scratch.write(format!("work/origin/folder-{}/file-{number}", number % 7), format!("content {number}\n"));
    }
    set_up(&origin, &["git", "init", "--quiet"]);
    set_up(&origin, &["git", "add", "."]);
    let name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
    set_up(&origin, &[&["git"], &name[..], &["commit", "--quiet", "-m", "all"]].concat());
    set_up(&origin, &[&["git"], &name[..], &["tag", "-m", "one", "v1"]].concat());
    work(scratch.join("work"), &["git", "clone", "--quiet", "origin", "copy"])
}

/// A configure script with half a dozen checks.
#[must_use]
pub fn configure(scratch: &Scratch) -> Work {
    let folder = scratch.folder("work");
    let checks = "AC_INIT([sample], [1.0])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\nAC_CONFIG_HEADERS([config.h])\n\
                  AC_CHECK_HEADERS([unistd.h sys/epoll.h no/such.h])\nAC_CHECK_FUNCS([strlcpy epoll_wait])\n\
                  AC_CHECK_SIZEOF([long])\nAC_C_BIGENDIAN\nAC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n";
    scratch.write("work/configure.ac", checks);
    scratch.write("work/Makefile.am", "bin_PROGRAMS = sample\nsample_SOURCES = sample.c\n");
    scratch.write("work/sample.c", "int main(void) { return 0; }\n");
    let _ = (need("automake"), need("gcc"));
    set_up(&folder, &["autoreconf", "--install"]);
    let configure = folder.join("configure").into_os_string();
    Work { folder, command: vec![configure], environment: Vec::new() }
}
