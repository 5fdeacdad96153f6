//! Addresses and tokens that prove themselves: a keyed BLAKE3 MAC over a claim with an expiry.
//!
//! Some requests come without credentials (a `PUT` of an LFS part, a fetch of xorb bytes), so
//! the address must carry its own proof; others carry a Xet token, which the hub hands out for
//! one repository and a short time. Nothing is stored: any server with the key can check.
//!
//! A claim is a purpose, an expiry and a list of texts. What is signed is unambiguous: every
//! text is preceded by its length, and each purpose has its own key, so a proof for one purpose
//! is noise for another.
//!
//! Key: 32 random bytes, the same on all servers of a hub. MAC: BLAKE3 keyed hash, 256 bits,
//! compared in constant time. Source: <https://github.com/BLAKE3-team/BLAKE3-specs>.

mod url;
mod xet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use url::SignedQuery;
pub use xet::{XetClaim, XetScope};

/// What a proof is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Sending an LFS object, or one part of it.
    LfsUpload,
    /// Completing a multipart LFS upload.
    LfsComplete,
    /// Fetching an LFS object.
    LfsDownload,
    /// Fetching byte ranges of a xorb.
    XorbFetch,
    /// Sending a xorb under a grant.
    XorbGrant,
    /// A Xet access token.
    XetToken,
    /// A cursor in a `Link: rel="next"`.
    PageCursor,
}

impl Purpose {
    /// Context of the key derivation; changing one makes all its proofs worthless.
    fn context(self) -> &'static str {
        match self {
            Self::LfsUpload => "weighthouse 2026 sign lfs upload",
            Self::LfsComplete => "weighthouse 2026 sign lfs complete",
            Self::LfsDownload => "weighthouse 2026 sign lfs download",
            Self::XorbFetch => "weighthouse 2026 sign xorb fetch",
            Self::XorbGrant => "weighthouse 2026 sign xorb grant",
            Self::XetToken => "weighthouse 2026 sign xet token",
            Self::PageCursor => "weighthouse 2026 sign page cursor",
        }
    }
}

/// Why a proof was refused. The two are told apart for the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not made with this key for this purpose and these texts, or cut off.
    #[error("the signature is not valid")]
    Forged,
    /// Right, and too old.
    #[error("the signature expired")]
    Expired,
}

/// Makes and checks proofs. Cheap to clone; never prints its key.
#[derive(Clone)]
pub struct Signer {
    key: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with the hub's key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Proof for the texts, as 43 characters that need no encoding in addresses.
    ///
    /// # Shapes and units
    /// - `expires_at_s`: last Unix second at which the proof holds
    #[must_use]
    pub fn sign(&self, purpose: Purpose, expires_at_s: u64, texts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(purpose, expires_at_s, texts).as_bytes())
    }

    /// Checks a proof against what the request says.
    ///
    /// # Errors
    /// [`Refused::Forged`] for a wrong proof, [`Refused::Expired`] for a right one after
    /// `expires_at_s`.
    pub fn check(
        &self,
        purpose: Purpose,
        expires_at_s: u64,
        texts: &[&str],
        proof: &str,
        now_s: u64,
    ) -> Result<(), Refused> {
        let sent: [u8; 32] =
            URL_SAFE_NO_PAD.decode(proof).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(Refused::Forged)?;
        // `blake3::Hash` compares in constant time.
        if self.mac(purpose, expires_at_s, texts) != blake3::Hash::from_bytes(sent) {
            return Err(Refused::Forged);
        }
        if now_s > expires_at_s { Err(Refused::Expired) } else { Ok(()) }
    }

    fn mac(&self, purpose: Purpose, expires_at_s: u64, texts: &[&str]) -> blake3::Hash {
        let key = blake3::derive_key(purpose.context(), &self.key);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&expires_at_s.to_le_bytes());
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer() -> Signer {
        Signer::new([7; 32])
    }

    #[test]
    fn a_proof_holds_until_its_last_second() {
        let proof = signer().sign(Purpose::LfsUpload, 100, &["a", "b"]);
        assert_eq!(proof.len(), 43);
        let check = |now_s| signer().check(Purpose::LfsUpload, 100, &["a", "b"], &proof, now_s);
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(100), Ok(()));
        assert_eq!(check(101), Err(Refused::Expired));
    }

    #[test]
    fn another_purpose_key_expiry_or_text_is_a_forgery() {
        let proof = signer().sign(Purpose::LfsUpload, 100, &["ab", "c"]);
        let forged = |signer: &Signer, purpose, expires_at_s, texts: &[&str], proof: &str| {
            signer.check(purpose, expires_at_s, texts, proof, 0) == Err(Refused::Forged)
        };
        let ours = signer();
        assert!(forged(&ours, Purpose::XorbFetch, 100, &["ab", "c"], &proof));
        assert!(forged(&ours, Purpose::LfsUpload, 101, &["ab", "c"], &proof));
        assert!(forged(&ours, Purpose::LfsUpload, 100, &["a", "bc"], &proof));
        assert!(forged(&ours, Purpose::LfsUpload, 100, &["ab", "c", ""], &proof));
        assert!(forged(&ours, Purpose::LfsUpload, 100, &["ab"], &proof));
        assert!(forged(&Signer::new([8; 32]), Purpose::LfsUpload, 100, &["ab", "c"], &proof));
        assert!(forged(&ours, Purpose::LfsUpload, 100, &["ab", "c"], &proof[..42]));
        assert!(forged(&ours, Purpose::LfsUpload, 100, &["ab", "c"], ""));
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", signer()), "Signer { .. }");
    }

    proptest! {
        #[test]
        fn no_other_text_passes_as_a_proof(proof in "[A-Za-z0-9_-]{0,60}") {
            prop_assert_eq!(
                signer().check(Purpose::XetToken, 100, &["a"], &proof, 0),
                Err(Refused::Forged)
            );
        }
    }
}
