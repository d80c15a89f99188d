//! How much of what was read has a digest to rely on, or is explained by what its writers read.

use std::collections::BTreeMap;
use std::fmt;

use proto::evidence::Class;
use tests::Record;

/// By count and by bytes, of regular files on file systems that hold content.
const COUNT_MIN: f64 = 0.95;
const BYTES_MIN: f64 = 0.99;

const READ_OR_EXEC: u8 = 1 | 4;
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// Distinct versions of files that were read.
#[derive(Default)]
pub(crate) struct Shares {
    good: Sum,
    all: Sum,
    /// Without content: of the kernel's making, or no regular file.
    pseudo: Sum,
    /// Class and reason of the rest.
    rest: BTreeMap<String, u64>,
}

#[derive(Default, Clone, Copy)]
struct Sum {
    count: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// A version: device, inode, size, ctime.
type Version = (u32, u64, u64, i64, u32);

impl Shares {
    pub(crate) fn of(record: &Record) -> Self {
        let mut versions: BTreeMap<Version, (bool, bool, String)> = BTreeMap::new();
        for file in record.trace.files().filter(|file| file.access & READ_OR_EXEC != 0) {
            let good = [Class::Kernel, Class::Stable, Class::Ephemeral].contains(&file.class);
            let content = file.mode & TYPE == REGULAR && file.reason != "PSEUDO_FILE";
            let version = (file.dev, file.ino, file.size_bytes, file.ctime_sec, file.ctime_nsec);
            let path = file.path.escape_ascii();
            let why = format!("{} {}", file.class.as_str_name().to_lowercase(), file.reason);
            let entry = versions.entry(version).or_insert((true, content, why.clone()));
            // A version told twice is as good as the worse of the two.
            if !good && entry.0 {
                *entry = (false, content, why);
            }
            if std::env::var_os("TESTIMONY_ORACLE_VERBOSE").is_some() && !good && content {
                eprintln!("{} {} {path}", file.class.as_str_name(), file.reason);
            }
        }
        let mut shares = Self::default();
        for ((_, _, size, ..), (good, content, why)) in versions {
            if !content {
                shares.pseudo.add(size);
                continue;
            }
            shares.all.add(size);
            if good {
                shares.good.add(size);
            } else {
                *shares.rest.entry(why).or_insert(0) += 1;
            }
        }
        shares
    }

    fn by_count(&self) -> f64 {
        ratio(self.good.count, self.all.count)
    }

    fn by_bytes(&self) -> f64 {
        ratio(self.good.bytes, self.all.bytes)
    }

    /// With what has no content counted as unexplained.
    fn with_pseudo(&self) -> f64 {
        ratio(self.good.count, self.all.count + self.pseudo.count)
    }

    pub(crate) fn must_be_explained(&self) {
        assert!(self.all.count > 0, "nothing was read");
        assert!(self.by_count() >= COUNT_MIN && self.by_bytes() >= BYTES_MIN, "{self}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share to be printed")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / (whole.max(1)) as f64
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = (self.by_count() * 100.0, self.by_bytes() * 100.0);
        write!(f, "{count:.2} % of {} versions and {bytes:.2} % of {} bytes read ", self.all.count, self.all.bytes)?;
        let pseudo = self.pseudo.count;
        write!(f, "are explained ({:.2} % with {pseudo} without content)", self.with_pseudo() * 100.0)?;
        for (why, count) in &self.rest {
            write!(f, ", {count} {why}")?;
        }
        Ok(())
    }
}
