//! `testimony keygen`: a signing key in a file of its owner's, and its public half beside it.

use std::path::PathBuf;

use crate::sign;

/// Where to put the key.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The private key, mode 0600; the public half is FILE.pub. Neither may be there
    #[arg(short = 'o', long = "output", value_name = "FILE", default_value = sign::DEFAULT)]
    output: PathBuf,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing is overwritten.
    #[error("{0} exists already: choose another file with -o")]
    Exists(PathBuf),
    /// It could not be made.
    #[error(transparent)]
    Sign(#[from] sign::KeyError),
}

impl Error {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        1
    }
}

/// Makes the key and says where it is and what it is called.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    let public = sign::public_path(&args.output);
    // Both before either: half a pair is worse than none.
    for path in [&args.output, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists(path.clone()));
        }
    }
    let key = sign::make(&args.output)?;
    println!("private key  {}  (keep it; mode 0600)", args.output.display());
    println!("public key   {}  (give it to those who verify)", public.display());
    println!("key id       {}", key.public().keyid());
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_half_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("key");
        std::fs::write(directory.path().join("key.pub"), "mine").unwrap();
        assert!(matches!(run(&Args { output: output.clone() }), Err(Error::Exists(_))));
        assert!(!output.exists());
        std::fs::rename(directory.path().join("key.pub"), &output).unwrap();
        assert!(matches!(run(&Args { output: output.clone() }), Err(Error::Exists(_))));
        assert_eq!(std::fs::read_to_string(output).unwrap(), "mine");
    }
}
