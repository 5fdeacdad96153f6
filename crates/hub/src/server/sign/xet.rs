//! Xet access tokens: opaque to clients, readable by every server of the hub, stored nowhere.
//!
//! Form: `xet_<base64url of the JSON claim>.<proof>`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Purpose, Refused, Signer};

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 4096;

const PREFIX: &str = "xet_";

/// What a Xet token allows, to whom, on what, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XetClaim {
    /// Stable internal id of the repository.
    #[serde(rename = "r")]
    pub repo: String,
    /// Stable internal id of the user; absent for strangers reading a public repository.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether the user's own token was limited to named repositories: this one is then limited to `repo`.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub limited: bool,
    /// Whether the user's own token was marked for automated use.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub automated: bool,
    /// Read, or read and write.
    #[serde(rename = "s")]
    pub scope: XetScope,
    /// Last Unix second at which it holds.
    #[serde(rename = "e")]
    pub expires_at_s: u64,
}

/// What a Xet token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XetScope {
    /// Reconstructions and dedup queries.
    #[serde(rename = "r")]
    Read,
    /// The same, and xorbs and shards.
    #[serde(rename = "w")]
    Write,
}

impl XetScope {
    /// Whether a token of this scope may do what `needed` asks.
    #[must_use]
    pub fn allows(self, needed: Self) -> bool {
        self == Self::Write || needed == Self::Read
    }
}

impl XetClaim {
    /// The token.
    #[must_use]
    pub fn seal(&self, signer: &Signer) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let claim = URL_SAFE_NO_PAD.encode(json);
        let proof = signer.sign(Purpose::XetToken, self.expires_at_s, &[&claim]);
        format!("{PREFIX}{claim}.{proof}")
    }

    /// Reads a token and checks it.
    ///
    /// # Errors
    /// [`Refused::Forged`] for anything this hub did not write, [`Refused::Expired`] for a token
    /// of this hub that is too old.
    pub fn open(token: &str, signer: &Signer, now_s: u64) -> Result<Self, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::Forged);
        }
        let body = token.strip_prefix(PREFIX).ok_or(Refused::Forged)?;
        let (claim, proof) = body.split_once('.').ok_or(Refused::Forged)?;
        let json = URL_SAFE_NO_PAD.decode(claim).map_err(|_| Refused::Forged)?;
        let read: Self = serde_json::from_slice(&json).map_err(|_| Refused::Forged)?;
        signer.check(Purpose::XetToken, read.expires_at_s, &[claim], proof, now_s)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(scope: XetScope) -> XetClaim {
        XetClaim {
            repo: "r1".into(),
            user: Some("u1".into()),
            limited: false,
            automated: false,
            scope,
            expires_at_s: 100,
        }
    }

    #[test]
    fn a_token_opens_to_its_claim_until_it_expires() {
        let signer = Signer::new([3; 32]);
        let claim = claim(XetScope::Write);
        let token = claim.seal(&signer);
        assert_eq!(XetClaim::open(&token, &signer, 100), Ok(claim));
        assert_eq!(XetClaim::open(&token, &signer, 101), Err(Refused::Expired));
        assert_eq!(XetClaim::open(&token, &Signer::new([4; 32]), 0), Err(Refused::Forged));
    }

    #[test]
    fn a_claim_cannot_be_widened_under_its_proof() {
        let signer = Signer::new([3; 32]);
        let narrow = claim(XetScope::Read).seal(&signer);
        let wide = claim(XetScope::Write).seal(&Signer::new([0; 32]));
        let (wide_claim, _) = wide.split_once('.').unwrap();
        let (_, proof) = narrow.split_once('.').unwrap();
        let mixed = format!("{wide_claim}.{proof}");
        assert_eq!(XetClaim::open(&mixed, &signer, 0), Err(Refused::Forged));
    }

    #[test]
    fn proofs_of_addresses_are_no_tokens() {
        let signer = Signer::new([3; 32]);
        let json = serde_json::to_vec(&claim(XetScope::Write)).unwrap();
        let body = URL_SAFE_NO_PAD.encode(json);
        let proof = signer.sign(Purpose::LfsUpload, 100, &[&body]);
        assert_eq!(XetClaim::open(&format!("xet_{body}.{proof}"), &signer, 0), Err(Refused::Forged));
    }

    #[test]
    fn write_allows_reading_and_not_the_reverse() {
        assert!(XetScope::Write.allows(XetScope::Read));
        assert!(XetScope::Write.allows(XetScope::Write));
        assert!(!XetScope::Read.allows(XetScope::Write));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(token in "(xet_)?[A-Za-z0-9_.-]{0,200}") {
            let refused = XetClaim::open(&token, &Signer::new([3; 32]), 0);
            prop_assert_eq!(refused, Err(Refused::Forged));
        }
    }
}
