//! Who is to sign what waits: as it is kept until then, whatever process signs.

use std::{io, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Error, Key, Signers, Source, Unable, authorities, load};
use crate::{identity::Workload, tpm};

/// Who is to sign, and who that was as far as it was known when the command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Awaited {
    signers: Vec<Who>,
    second: Option<Who>,
    timestamps: Vec<String>,
    bundles: PathBuf,
}

/// One of them: nobody else signs in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Who {
    Key { path: PathBuf, id: String },
    // Whoever the API gives first, where it never gave anybody.
    Spiffe { socket: String, id: Option<String> },
    Tpm(tpm::Args),
}

impl Signers {
    /// Who is to sign, wherever and whenever that is.
    ///
    /// # Errors
    /// If a path cannot be said.
    pub fn awaited(&self) -> io::Result<Awaited> {
        let timestamps = self.authorities.iter().map(|authority| authority.url().to_owned()).collect();
        Ok(Awaited {
            signers: self.first.iter().map(Who::of).collect::<io::Result<_>>()?,
            second: self.second.as_ref().map(Who::of).transpose()?,
            timestamps,
            bundles: std::path::absolute(&self.bundles)?,
        })
    }
}

impl Awaited {
    /// Finds them. Nobody is waited for here, and no key is made.
    ///
    /// # Errors
    /// Why that cannot be.
    pub fn open(&self) -> Result<Signers, Error> {
        Ok(Signers {
            first: self.signers.iter().map(Who::source).collect::<Result<_, _>>()?,
            second: self.second.as_ref().map(Who::source).transpose()?,
            wait: Duration::ZERO,
            bundles: self.bundles.clone(),
            authorities: authorities(&self.timestamps)?,
        })
    }

    /// All of them, for people.
    pub fn names(&self) -> Vec<String> {
        self.signers.iter().map(Who::name).collect()
    }
}

impl Who {
    fn of(source: &Source) -> io::Result<Self> {
        Ok(match source {
            Source::Key(Key { file, path, .. }) => {
                Self::Key { path: std::path::absolute(path)?, id: file.public().keyid().to_owned() }
            }
            Source::Spiffe(workload) => Self::Spiffe { socket: workload.socket().to_owned(), id: workload.id() },
            Source::Tpm(args) => Self::Tpm(args.absolute()?),
        })
    }

    fn source(&self) -> Result<Source, Error> {
        match self {
            Self::Key { path, id } => {
                let file = load(path)?;
                if file.public().keyid() != id {
                    return Err(Error::OtherKey(path.clone()));
                }
                Ok(Source::Key(Key { file, path: path.clone(), new: false }))
            }
            Self::Spiffe { socket, id } => {
                let workload = Workload::connect(Some(socket)).map_err(Unable::from)?;
                if let Some(id) = id {
                    workload.expect(id.clone());
                }
                Ok(Source::Spiffe(workload))
            }
            Self::Tpm(args) => Ok(Source::Tpm(args.clone())),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Key { id, .. } => id.clone(),
            Self::Spiffe { socket, id } => id.clone().unwrap_or_else(|| format!("whom {socket} gives")),
            Self::Tpm(_) => "the TPM".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{Args, key};

    #[test]
    fn who_is_awaited_is_the_same_elsewhere_and_no_other_key_signs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let signers = Args::by(path.clone()).open().unwrap();
        let awaited = signers.awaited().unwrap();
        let kept: Awaited = serde_json::from_slice(&serde_json::to_vec(&awaited).unwrap()).unwrap();
        assert_eq!(kept, awaited);
        let name = signers.ready().unwrap().meta().signer;
        assert_eq!((kept.names(), kept.open().unwrap().ready().unwrap().meta().signer), (vec![name.clone()], name));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(kept.open(), Err(Error::Key(_))) && !path.exists());
        std::fs::remove_file(folder.path().join("key.pub")).unwrap();
        key::make(&path).unwrap();
        assert!(matches!(kept.open(), Err(Error::OtherKey(_))));
    }
}
