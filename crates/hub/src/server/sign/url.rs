//! Proofs in the query of an address: `?exp=<unix seconds>&sig=<proof>`.

use super::{Purpose, Refused, Signer};
use crate::wire::query::Query;

/// The two parameters that make an address prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedQuery {
    /// Last Unix second at which the address works.
    pub expires_at_s: u64,
    /// The proof.
    pub proof: String,
}

impl SignedQuery {
    /// Signs the facts an address stands for (path, size, part number, whoever asked …).
    ///
    /// What the handler later reads from the address must be among the texts.
    #[must_use]
    pub fn new(signer: &Signer, purpose: Purpose, expires_at_s: u64, texts: &[&str]) -> Self {
        let proof = signer.sign(purpose, expires_at_s, texts);
        Self { expires_at_s, proof }
    }

    /// Takes the parameters out of a query.
    ///
    /// # Errors
    /// [`Refused::Forged`] when one is missing or no number.
    pub fn from_query(query: &Query) -> Result<Self, Refused> {
        let expires_at_s = query.number("exp").ok().flatten().ok_or(Refused::Forged)?;
        let proof = query.text("sig").ok_or(Refused::Forged)?.to_owned();
        Ok(Self { expires_at_s, proof })
    }

    /// Checks against the facts that the handler read from the address.
    ///
    /// # Errors
    /// See [`Signer::check`].
    pub fn check(&self, signer: &Signer, purpose: Purpose, texts: &[&str], now_s: u64) -> Result<(), Refused> {
        signer.check(purpose, self.expires_at_s, texts, &self.proof, now_s)
    }
}

/// Writes `exp=…&sig=…`, to stand behind `?` or `&`.
impl std::fmt::Display for SignedQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exp={}&sig={}", self.expires_at_s, self.proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_checks_after_its_journey() {
        let signer = Signer::new([1; 32]);
        let made = SignedQuery::new(&signer, Purpose::LfsUpload, 50, &["oid", "7"]);
        let read = SignedQuery::from_query(&Query::parse(&format!("part=7&{made}")).unwrap());
        let read = read.unwrap();
        assert_eq!(read, made);
        assert_eq!(read.check(&signer, Purpose::LfsUpload, &["oid", "7"], 50), Ok(()));
        let check = |texts: &[&str], now_s| read.check(&signer, Purpose::LfsUpload, texts, now_s);
        assert_eq!(check(&["oid", "8"], 50), Err(Refused::Forged));
        assert_eq!(check(&["oid", "7"], 51), Err(Refused::Expired));
    }

    #[test]
    fn a_query_without_its_proof_is_refused() {
        for text in ["", "exp=5", "sig=x", "exp=soon&sig=x", "exp=-1&sig=x"] {
            let read = SignedQuery::from_query(&Query::parse(text).unwrap());
            assert_eq!(read, Err(Refused::Forged), "{text}");
        }
    }
}
