//! Where a tensor lies, as a digest: the same in every repository that has the same file.

use sha2::{Digest, Sha256 as Hasher};
use weighthouse_format::Tensor;
use weighthouse_format::tensor::{Filter, Region, Stored};
use weighthouse_store::digest::Sha256;

/// Source and place of a tensor in the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// SHA-256 of the file that holds the tensor; of several files, a digest over theirs.
    pub source: Sha256,
    /// Digest over dtype, shape and pieces; 32 hexadecimal digits.
    pub place: String,
    /// Path of the first file.
    pub path: String,
    /// Offset in it.
    pub offset: u64,
}

/// Where a tensor lies; `None` for one that no file holds. `digest` tells the SHA-256 of a file.
pub(crate) fn of(tensor: &Tensor, digest: impl Fn(&str) -> Option<Sha256>) -> Option<Place> {
    let mut hasher = Hasher::new();
    let mut files: Vec<Sha256> = Vec::new();
    text(&mut hasher, tensor.dtype.as_str());
    list(&mut hasher, &tensor.shape);
    for piece in &tensor.pieces {
        match &piece.region {
            Region::Whole => hasher.update([0]),
            Region::Box { offsets, shape } => {
                hasher.update([1]);
                list(&mut hasher, offsets);
                list(&mut hasher, shape);
            }
            Region::Run { first, len } => {
                hasher.update([2]);
                list(&mut hasher, &[*first, *len]);
            }
        }
        match &piece.stored {
            Stored::File { file, begin, end } => {
                let sha256 = digest(file)?;
                hasher.update([0]);
                hasher.update(sha256.0);
                list(&mut hasher, &[*begin, *end]);
                if !files.contains(&sha256) {
                    files.push(sha256);
                }
            }
            Stored::Inline(bytes) => {
                hasher.update([1]);
                hasher.update((bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
            Stored::Fill(bytes) => {
                hasher.update([2]);
                hasher.update((bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
        }
        list(&mut hasher, &[piece.filters.len() as u64, piece.decoded_bytes, piece.first_byte]);
        piece.filters.iter().for_each(|filter| text(&mut hasher, &spelled(filter)));
        match &piece.strides {
            Some(strides) => list(&mut hasher, strides),
            None => hasher.update([0xff]),
        }
    }
    let source = match files.as_slice() {
        [] => return None,
        [one] => *one,
        [..] => {
            files.sort_unstable();
            let mut several = Hasher::new();
            files.iter().for_each(|file| several.update(file.0));
            Sha256(several.finalize().into())
        }
    };
    let place = hex::encode(hasher.finalize());
    let (path, offset) = tensor.place()?;
    Some(Place { source, place: place.get(..32)?.to_owned(), path: path.to_string(), offset })
}

/// A filter as text that stays the same over releases.
fn spelled(filter: &Filter) -> String {
    format!("{filter:?}")
}

fn text(hasher: &mut Hasher, text: &str) {
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text);
}

fn list(hasher: &mut Hasher, numbers: &[u64]) {
    hasher.update((numbers.len() as u64).to_le_bytes());
    numbers.iter().for_each(|number| hasher.update(number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::Dtype;

    fn tensor(file: &str, begin: u64, shape: &[u64]) -> Tensor {
        let len = 4 * shape.iter().product::<u64>();
        Tensor::plain("t", Dtype::F32, shape.to_vec(), Stored::File { file: file.into(), begin, end: begin + len })
    }

    #[test]
    fn a_place_depends_on_content_and_layout_and_not_on_names() {
        let digest = |path: &str| Some(Sha256::of(path.rsplit('/').next().unwrap().as_bytes()));
        let here = of(&tensor("a/x", 8, &[2, 3]), digest).unwrap();
        let there = of(&Tensor { name: "other".into(), ..tensor("b/x", 8, &[2, 3]) }, digest).unwrap();
        assert_eq!((&here.source, &here.place), (&there.source, &there.place));
        for other in [tensor("a/x", 9, &[2, 3]), tensor("a/x", 8, &[3, 2]), tensor("a/y", 8, &[2, 3])] {
            assert_ne!(of(&other, digest).unwrap().place, here.place);
        }
        assert_eq!(of(&tensor("x", 0, &[1]), |_| None), None);
        let mut pieced = tensor("x", 0, &[1]);
        pieced.pieces.extend(tensor("y", 0, &[1]).pieces);
        let mut turned = pieced.clone();
        turned.pieces.reverse();
        let (one, other) = (of(&pieced, digest).unwrap(), of(&turned, digest).unwrap());
        assert_eq!(one.source, other.source, "the order of files is no part of the source");
        assert_ne!(one.place, other.place);
    }
}
