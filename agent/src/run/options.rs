//! What `run` is told: its options, and what they come to.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use proto::evidence::Variable;

use crate::{
    chain, control, daemon,
    glob::Glob,
    keyless,
    probe::{self, Limits},
    redact::Redaction,
    seal, sign,
};

/// What to run, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the outputs: NAME.intoto.jsonl and NAME.evidence [default: the command's name and the time]
    #[arg(short = 'o', long = "output", value_name = "NAME")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) signers: sign::Args,
    #[command(flatten)]
    pub(super) seals: seal::Args,
    #[command(flatten)]
    pub(super) keyless: keyless::Args,
    /// Do as the agent's configuration says: who signs, where that is not said here, and into which spool the statement goes, from
    /// which `testimony agent` delivers it
    #[arg(long = "config", value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = daemon::DEFAULT)]
    pub(super) agent_config: Option<PathBuf>,
    /// Have the node's agent trace the command and sign, asked at this socket [default: where we have no rights to trace, and it is
    /// there]
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true, default_missing_value = control::SOCKET)]
    pub(super) agent: Option<PathBuf>,
    /// Files made or written and left that count as products, by path: `*` and `?` stay within a component, `**` does
    /// not; a name without a slash is of any folder; repeatable [default: every file created and left]
    #[arg(long, value_name = "GLOB")]
    pub(super) product: Vec<OsString>,
    /// Run the command as root even under sudo
    #[arg(long)]
    pub(super) as_root: bool,
    /// How long children that outlive the command are followed, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub(super) grace: f64,
    /// Bytes of the kernel's ring buffer, a power of two
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().ring_bytes)]
    pub(super) ring_bytes: u32,
    /// Files above this size get no digest, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    pub(super) file_bytes_max: u64,
    /// Where the last number and digest of this host's statements are kept, so that each can name the one before it
    #[arg(long, value_name = "DIR", default_value = chain::DEFAULT)]
    pub(super) chain: PathBuf,
    /// Leave out of arguments what matches, before anything is written; a keyed hash stands in its place. The rule is held
    /// against all arguments of a program as one text, with a NUL between them; where it has groups, these are left out, else
    /// the whole match; repeatable
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub(super) redact: Vec<String>,
    /// Tell this variable of the command's environment; repeatable [default: none]
    #[arg(long, value_name = "NAME")]
    pub(super) env: Vec<String>,
    /// Tell a keyed hash of this variable of the command's environment; repeatable
    #[arg(long, value_name = "NAME")]
    pub(super) env_hash: Vec<String>,
    /// Keep the key of the hashes in this file, which must not be there yet [default: nobody has it]
    #[arg(long, value_name = "FILE")]
    pub(super) redaction_key: Option<PathBuf>,
    /// Do not make this observation, to compare; the statement says so and is never complete; repeatable
    #[arg(long, value_name = "OBSERVATION", value_parser = observation)]
    pub(super) leave_out: Vec<String>,
    /// Use the weakest hook of every observation, to compare
    #[arg(long)]
    pub(super) weakest_hooks: bool,
    /// Say the result as one line of JSON on standard error
    #[arg(long)]
    pub(super) json: bool,
    /// Say where the time went
    #[arg(long)]
    pub(super) timings: bool,
    /// Say what each program in the kernel costs, beside ones that do nothing; time is told with kernel.bpf_stats_enabled=1
    #[arg(long)]
    pub(super) program_costs: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// An observation that can be left out.
fn observation(name: &str) -> Result<String, String> {
    let mut names = probe::optional();
    let all = || probe::optional().collect::<Vec<_>>().join(", ");
    if names.any(|known| known == name) { Ok(name.to_owned()) } else { Err(format!("none of {}", all())) }
}

/// The variables that were asked for, in the order of their names, each once.
pub(super) fn environment(args: &Args, redaction: &Redaction) -> Vec<Variable> {
    let plain = args.env.iter().map(|name| (name, false));
    let asked: BTreeMap<&String, bool> = plain.chain(args.env_hash.iter().map(|name| (name, true))).collect();
    asked
        .into_iter()
        .map(|(name, hashed)| redaction.variable(name, std::env::var_os(name).as_deref(), hashed))
        .collect()
}

/// The patterns of products; one that is relative and has a slash is of the folder that the command starts in.
pub(super) fn products(given: &[OsString]) -> anyhow::Result<Vec<Glob>> {
    let here = std::env::current_dir()?.into_os_string().into_encoded_bytes();
    Ok(given.iter().map(|glob| Glob::new(&whole(glob.as_encoded_bytes(), &here))).collect())
}

/// A pattern that means the same in any folder.
pub(super) fn whole(glob: &[u8], here: &[u8]) -> Vec<u8> {
    if !glob.contains(&b'/') || glob.starts_with(b"/") || glob.starts_with(b"**/") {
        return glob.to_vec();
    }
    let mut whole = Vec::new();
    for byte in here {
        if b"*?[\\".contains(byte) {
            whole.push(b'\\');
        }
        whole.push(*byte);
    }
    whole.push(b'/');
    whole.extend_from_slice(glob.strip_prefix(b"./").unwrap_or(glob));
    whole
}

#[cfg(test)]
mod tests {
    use super::{Glob, whole};

    #[test]
    fn a_relative_pattern_is_of_the_folder_whatever_that_is_called() {
        let matches =
            |glob: &str, path: &str| Glob::new(&whole(glob.as_bytes(), b"/work/a[b]*")).matches(path.as_bytes());
        assert!(matches("out/*.o", "/work/a[b]*/out/x.o") && matches("./tool", "/work/a[b]*/tool"));
        assert!(!matches("out/*.o", "/work/ab/out/x.o") && !matches("out/*.o", "/work/a[b]*/deep/out/x.o"));
        assert!(matches("*.o", "/anywhere/x.o") && matches("**/out/x", "/any/out/x") && matches("/a/b", "/a/b"));
    }
}
