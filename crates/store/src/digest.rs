//! Identities by digest: SHA-256 of content, SHA-1 of git objects.

use std::fmt;
use std::str::FromStr;

/// A digest given in a form that is not the expected number of hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {digits} hexadecimal digits")]
pub struct DigestError {
    text: String,
    digits: usize,
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| DigestError {
                    text: text.chars().take(80).collect(),
                    digits: 2 * $len,
                })?;
                Ok(Self(bytes))
            }
        }
    };
}

digest!(
    /// SHA-256 of a file's content; prints as 64 lower-case hexadecimal digits.
    Sha256,
    32
);
digest!(
    /// SHA-1 of a git object (blob, tree or commit), header included; prints as 40 lower-case hexadecimal digits.
    GitOid,
    20
);

impl Sha256 {
    /// Digest of a whole buffer.
    pub fn of(data: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(data).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_print_and_parse_as_hexadecimal() {
        let digest = Sha256::of(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.parse(), Ok(digest));
        assert!("ba78".parse::<Sha256>().is_err());
        assert!("zz".repeat(20).parse::<GitOid>().is_err());
    }
}
