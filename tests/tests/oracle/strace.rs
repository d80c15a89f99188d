//! What strace saw: its lines joined, threads counted to their processes, names made absolute.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::lexer::{self, Text};

/// An act, as both sides tell it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Act {
    /// What execve was given, and the arguments.
    Exec(Vec<u8>, Vec<Vec<u8>>),
    /// Path behind the descriptor, and how it was opened: `r`, `w`, `b`oth or `p`ath only.
    Open(Vec<u8>, char),
    /// Family, address, port.
    Connect(u32, Vec<u8>, u32),
    Rename(Vec<u8>, Vec<u8>),
    Unlink(Vec<u8>),
    Rmdir(Vec<u8>),
}

/// All that strace saw.
pub(crate) struct Seen {
    /// Process and act, in order.
    pub(crate) acts: Vec<(u32, Act)>,
    /// Acts that the kernel refused, by the names that were given.
    pub(crate) refused: Vec<(u32, Act)>,
    /// Every process that it followed.
    pub(crate) pids: Vec<u32>,
}

/// A call of a thread, whole.
struct Line {
    tid: u32,
    text: String,
}

#[derive(Default)]
struct Reader {
    /// Thread to its process.
    process: HashMap<u32, u32>,
    /// Process to its working directory.
    directory: HashMap<u32, PathBuf>,
    /// Child to the process that made it.
    parent: HashMap<u32, u32>,
    acts: Vec<(u32, Act)>,
    refused: Vec<(u32, Act)>,
}

/// Reads strace's output of a command that began in `folder`.
pub(crate) fn read(log: &Path, folder: &Path) -> Seen {
    let bytes = fs::read(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    let text = String::from_utf8_lossy(&bytes);
    let lines = joined(&text);
    let mut reader = Reader::default();
    for line in &lines {
        reader.family(line);
    }
    for line in &lines {
        let process = reader.begin(line.tid, folder);
        if let Some(call) = lexer::call(&line.text) {
            reader.call(process, &call);
        }
    }
    // A process that did nothing of interest still ends with a line.
    text.lines().for_each(|line| _ = reader.begin(thread(line).0, folder));
    let mut pids: Vec<u32> = reader.process.values().copied().collect();
    pids.sort_unstable();
    pids.dedup();
    Seen { acts: reader.acts, refused: reader.refused, pids }
}

/// The thread that a line is about, and the rest of it.
fn thread(line: &str) -> (u32, &str) {
    let parts = line.split_once(' ').and_then(|(tid, rest)| Some((tid.parse().ok()?, rest.trim_start())));
    parts.unwrap_or_else(|| panic!("no line of strace's: {line}"))
}

/// Calls, each in the place where it ended, those that another thread interrupted put together again.
fn joined(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut begun: HashMap<u32, String> = HashMap::new();
    for line in text.lines() {
        let (tid, rest) = thread(line);
        if rest.starts_with("---") {
            continue;
        }
        if let Some(thread) = rest.strip_prefix("+++ superseded by execve in pid ") {
            // An exec from a thread ends in the name of the thread that leads the process.
            let thread = thread.split(' ').next().and_then(|thread| thread.parse().ok());
            let unfinished = thread.and_then(|thread: u32| begun.remove(&thread));
            begun.extend(unfinished.map(|text| (tid, text)));
            continue;
        }
        if rest.starts_with("+++") {
            continue;
        }
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(tid, start.to_owned());
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let start = begun.remove(&tid).unwrap_or_default();
            lines.push(Line { tid, text: start + end });
        } else {
            lines.push(Line { tid, text: rest.to_owned() });
        }
    }
    lines
}

impl Reader {
    /// Who made whom. A child may act before its parent's call has returned, so this comes first.
    fn family(&mut self, line: &Line) {
        let Some(call) = lexer::call(&line.text) else { return };
        if !["clone", "clone3", "fork", "vfork"].contains(&call.name) {
            return;
        }
        let Some(child) = call.result.split(' ').next().and_then(|child| child.parse::<u32>().ok()) else { return };
        let maker = self.process.get(&line.tid).copied().unwrap_or(line.tid);
        if call.args.iter().any(|arg| arg.contains("CLONE_THREAD")) {
            self.process.insert(child, maker);
        } else {
            self.parent.insert(child, maker);
        }
    }

    /// The process of a thread; a new one begins where its parent is.
    fn begin(&mut self, tid: u32, folder: &Path) -> u32 {
        let process = *self.process.entry(tid).or_insert(tid);
        if !self.directory.contains_key(&process) {
            let parent = self.parent.get(&process).and_then(|parent| self.directory.get(parent));
            let directory = parent.map_or_else(|| folder.to_owned(), PathBuf::clone);
            self.directory.insert(process, directory);
        }
        process
    }

    fn call(&mut self, process: u32, call: &Text<'_>) {
        if call.result.starts_with('-') && call.name != "connect" {
            let refused = self.refused(process, call);
            return self.refused.extend(refused.map(|act| (process, act)));
        }
        let act = match call.name {
            "execve" => exec(call, 0, 1),
            "execveat" => exec(call, 1, 2),
            "open" => opened(call, call.args.get(1)),
            "openat" => opened(call, call.args.get(2)),
            "creat" => lexer::path(call.result).map(|path| Act::Open(path, 'w')),
            "openat2" | "open_by_handle_at" => opened(call, call.args.get(2)),
            "connect" => connect(call),
            "chdir" | "fchdir" => return self.moved(process, call),
            "clone" | "clone3" | "fork" | "vfork" => return,
            _ => self.named(process, call),
        };
        let act = act.unwrap_or_else(|| panic!("not understood: {call:?}"));
        self.acts.push((process, act));
    }

    /// What is done to names.
    fn named(&self, process: u32, call: &Text<'_>) -> Option<Act> {
        match call.name {
            "rename" => self.two(process, call, [None, None], [0, 1]),
            "renameat" | "renameat2" => self.two(process, call, [Some(0), Some(2)], [1, 3]),
            "unlink" => self.one(process, call, None, 0).map(Act::Unlink),
            "rmdir" => self.one(process, call, None, 0).map(Act::Rmdir),
            "unlinkat" => {
                let folder = call.args.get(2).is_some_and(|flags| flags.contains("AT_REMOVEDIR"));
                self.one(process, call, Some(0), 1).map(if folder { Act::Rmdir } else { Act::Unlink })
            }
            _ => None,
        }
    }

    /// What a call would have done.
    fn refused(&self, process: u32, call: &Text<'_>) -> Option<Act> {
        match call.name {
            "open" => Some(Act::Open(self.one(process, call, None, 0)?, access(call.args.get(1)?))),
            "openat" | "openat2" => Some(Act::Open(self.one(process, call, Some(0), 1)?, access(call.args.get(2)?))),
            "creat" => Some(Act::Open(self.one(process, call, None, 0)?, 'w')),
            _ => self.named(process, call),
        }
    }

    fn moved(&mut self, process: u32, call: &Text<'_>) {
        let path = match call.name {
            "chdir" => self.one(process, call, None, 0),
            _ => call.args.first().and_then(|arg| lexer::path(arg)),
        };
        let path = path.unwrap_or_else(|| panic!("not understood: {call:?}"));
        let path = PathBuf::from(OsStr::from_bytes(&path));
        // Through a symbolic link the kernel is elsewhere, as long as there is still something to ask.
        self.directory.insert(process, fs::canonicalize(&path).unwrap_or(path));
    }

    fn one(&self, process: u32, call: &Text<'_>, directory: Option<usize>, name: usize) -> Option<Vec<u8>> {
        let name = lexer::string(call.args.get(name)?)?;
        let base = match directory {
            Some(at) => lexer::path(call.args.get(at)?)?,
            None => self.directory.get(&process)?.as_os_str().as_bytes().to_vec(),
        };
        Some(absolute(&base, &name))
    }

    fn two(&self, process: u32, call: &Text<'_>, directories: [Option<usize>; 2], names: [usize; 2]) -> Option<Act> {
        let from = self.one(process, call, directories[0], names[0])?;
        Some(Act::Rename(from, self.one(process, call, directories[1], names[1])?))
    }
}

/// A name made absolute, `.` and `..` taken away: both sides are compared in this form.
pub(crate) fn absolute(base: &[u8], name: &[u8]) -> Vec<u8> {
    let whole = if name.starts_with(b"/") { name.to_vec() } else { [base, b"/", name].concat() };
    let mut components: Vec<&[u8]> = Vec::new();
    for component in whole.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    components.iter().flat_map(|component| [b"/", *component]).flatten().copied().collect()
}

fn exec(call: &Text<'_>, name: usize, words: usize) -> Option<Act> {
    Some(Act::Exec(lexer::string(call.args.get(name)?)?, lexer::strings(call.args.get(words)?)?))
}

fn opened(call: &Text<'_>, flags: Option<&&str>) -> Option<Act> {
    let how = access(flags?);
    // A pipe that is opened again has a name and no path.
    let path = lexer::path(call.result)?;
    Some(Act::Open(if path.starts_with(b"/") { path } else { [b"/", path.as_slice()].concat() }, how))
}

/// How flags open a file.
fn access(flags: &str) -> char {
    match flags {
        flags if flags.contains("O_PATH") => 'p',
        flags if flags.contains("O_RDWR") => 'b',
        flags if flags.contains("O_WRONLY") => 'w',
        _ => 'r',
    }
}

fn connect(call: &Text<'_>) -> Option<Act> {
    let address = call.args.get(1)?;
    let number = |key: &str| {
        let value = lexer::field(address, key)?;
        value.strip_prefix("htons(")?.strip_suffix(')')?.parse().ok()
    };
    let quoted = |text: &str| text.split('"').nth(1).map(str::to_owned);
    match lexer::field(address, "sa_family")? {
        "AF_UNIX" => Some(Act::Connect(1, lexer::string(lexer::field(address, "sun_path")?)?, 0)),
        "AF_INET" => {
            let address: std::net::Ipv4Addr = quoted(lexer::field(address, "sin_addr")?)?.parse().ok()?;
            Some(Act::Connect(2, address.octets().to_vec(), number("sin_port")?))
        }
        "AF_INET6" => {
            let text = address.split_once("inet_pton(")?.1;
            let address: std::net::Ipv6Addr = quoted(text)?.parse().ok()?;
            Some(Act::Connect(10, address.octets().to_vec(), number("sin6_port")?))
        }
        _ => None,
    }
}
