//! Who signs, as the node's configuration says it, in its section `[sign]`.

use attestation::dsse::SIGNATURES_MAX;
use config::{Fault, Validate};
use serde::Deserialize;

use super::{Args, Choice};

/// What the command line has options for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who signs: all of them.
    pub signers: Vec<Choice>,
    /// Who signs instead if one of those cannot.
    pub second_signer: Option<Choice>,
    /// Timestamp authorities.
    pub timestamps: Vec<String>,
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.signers.len() > SIGNATURES_MAX {
            faults.push(Fault::new("signers", format!("more than {SIGNATURES_MAX}, which an envelope takes")));
        }
        if self.second_signer.is_some() && self.signers.is_empty() {
            faults.push(Fault::new("second_signer", "stands in for one of signers, and none are named"));
        }
    }
}

impl TryFrom<String> for Choice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Settings {
    /// Who signs by the configuration alone.
    #[must_use]
    pub fn args(&self) -> Args {
        Args::unsaid().or(self)
    }
}

impl Args {
    /// The same, with what the configuration says where the command line says nothing.
    #[must_use]
    pub fn or(&self, settings: &Settings) -> Self {
        let mut args = self.clone();
        if args.key.is_none() && args.signers.is_empty() {
            (args.signers, args.second_signer) = (settings.signers.clone(), settings.second_signer.clone());
        }
        if args.timestamps.is_empty() {
            args.timestamps.clone_from(&settings.timestamps);
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, config::Refused> {
        config::parse("agent.toml", text)
    }

    #[test]
    fn what_the_command_line_says_counts() {
        let settings =
            read("signers = ['spiffe', 'tpm']\nsecond_signer = 'key:/k'\ntimestamps = ['http://t']").unwrap();
        let said = Args::by("/own".into()).or(&settings);
        assert_eq!(
            (said.key.is_some(), said.signers.len(), said.second_signer, said.timestamps.len()),
            (true, 0, None, 1)
        );
        let mut none = Args::by("/own".into());
        none.key = None;
        let said = none.or(&settings);
        assert_eq!(
            (said.signers, said.second_signer),
            (vec![Choice::Spiffe(None), Choice::Tpm], Some(Choice::Key("/k".into())))
        );
    }

    #[test]
    fn faults_have_their_lines() {
        let faults = |text: &str| -> Vec<(Option<u32>, String)> {
            read(text).unwrap_err().faults.into_iter().map(|fault| (fault.line, fault.path)).collect()
        };
        assert_eq!(faults("signers = ['spiffe', 'nobody']"), [(Some(1), "signers[1]".to_owned())]);
        assert_eq!(faults("\nsecond_signer = 'tpm'"), [(Some(2), "second_signer".to_owned())]);
    }
}
