//! The first half of a torch file's id: a hash over the names of its members.
//!
//! PyTorch keeps the names in a hash set of the C++ standard library and combines their hashes in the order in which that
//! set gives them. The order follows from how GNU's library keeps the set, so it is kept the same way here: chains of
//! buckets in one list, a new name at the front of its bucket or, if that is empty, of the list.
//!
//! Source: files of PyTorch 2.15 for Linux; MurmurHash64A as GNU's library has it.

use crate::output::torch_combined;

/// Sizes that the set grows through.
const BUCKETS: &[u64] = &[
    13, 29, 59, 127, 257, 541, 1109, 2357, 5087, 10_273, 20_753, 42_043, 85_229, 172_933, 351_061, 712_697, 1_447_153,
    2_938_679, 5_967_347,
];
/// End of the list, and the place before its first name.
const NONE: usize = usize::MAX;

/// The hash over these names, in the order in which they were written.
pub(super) fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> u64 {
    let mut set = Set::default();
    for name in names {
        set.insert(hash(name.as_bytes()));
    }
    set.order().into_iter().fold(0, torch_combined)
}

/// Hashes of names in the order of the standard library.
#[derive(Default)]
struct Set {
    hashes: Vec<u64>,
    /// The name after each.
    next: Vec<usize>,
    first: Option<usize>,
    /// For each bucket with names, the name before its first; `NONE` for the place before the list.
    buckets: Vec<Option<usize>>,
}

impl Set {
    fn insert(&mut self, hash: u64) {
        if self.hashes.len() >= self.buckets.len() {
            let more = BUCKETS.iter().find(|&&size| size > self.buckets.len() as u64);
            let size = more.map_or(self.buckets.len() * 2 + 1, |&size| size as usize);
            let order = self.numbers();
            self.buckets = vec![None; size];
            self.first = None;
            let mut bucket_of_first = 0;
            for node in order {
                let bucket = self.bucket(node);
                if self.put_behind(bucket, node) {
                    continue;
                }
                // The list begins with this name now; the one that began it has this one before it.
                if self.begin_with(node) {
                    self.set(bucket_of_first, node);
                }
                self.set(bucket, NONE);
                bucket_of_first = bucket;
            }
        }
        let node = self.hashes.len();
        self.hashes.push(hash);
        self.next.push(NONE);
        let bucket = self.bucket(node);
        if self.put_behind(bucket, node) {
            return;
        }
        if self.begin_with(node) {
            let second = self.next.get(node).copied().unwrap_or(NONE);
            let bucket = self.bucket(second);
            self.set(bucket, node);
        }
        self.set(bucket, NONE);
    }

    /// Puts a name at the front of a bucket that has some; answers whether it has.
    fn put_behind(&mut self, bucket: usize, node: usize) -> bool {
        let Some(Some(before)) = self.buckets.get(bucket).copied() else { return false };
        let after = match before {
            NONE => self.first.replace(node).unwrap_or(NONE),
            before => self.next.get_mut(before).map_or(NONE, |next| std::mem::replace(next, node)),
        };
        self.set_next(node, after);
        true
    }

    /// Puts a name at the front of the list; answers whether there was another.
    fn begin_with(&mut self, node: usize) -> bool {
        let after = self.first.replace(node);
        self.set_next(node, after.unwrap_or(NONE));
        after.is_some()
    }

    fn bucket(&self, node: usize) -> usize {
        let hash = self.hashes.get(node).copied().unwrap_or(0);
        (hash % (self.buckets.len() as u64).max(1)) as usize
    }

    fn set(&mut self, bucket: usize, before: usize) {
        if let Some(place) = self.buckets.get_mut(bucket) {
            *place = Some(before);
        }
    }

    fn set_next(&mut self, node: usize, after: usize) {
        if let Some(next) = self.next.get_mut(node) {
            *next = after;
        }
    }

    fn numbers(&self) -> Vec<usize> {
        let mut numbers = Vec::with_capacity(self.hashes.len());
        let mut at = self.first.unwrap_or(NONE);
        while let Some(&next) = self.next.get(at) {
            numbers.push(at);
            at = next;
        }
        numbers
    }

    fn order(&self) -> Vec<u64> {
        self.numbers().into_iter().filter_map(|node| self.hashes.get(node).copied()).collect()
    }
}

/// MurmurHash64A with the seed of `std::hash`.
fn hash(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xc70f_6907;
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    let mixed = |value: u64| value ^ (value >> 47);
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        hash = (hash ^ mixed(word).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    mixed(mixed(hash).wrapping_mul(FACTOR))
}

#[cfg(test)]
mod tests {
    use super::of_names;

    #[test]
    fn names_hash_as_pytorch_has_them_through_several_sizes_of_its_set() {
        // Files of `torch.save` with so many tensors.
        for (tensors, expected) in
            [(0, 2_908_468_677_762_923_104), (40, 15_065_861_001_111_053_755), (3000, 7_460_312_898_770_484_889)]
        {
            let before = ["data.pkl", ".format_version", ".storage_alignment", "byteorder"].map(str::to_owned);
            let data = (0..tensors).map(|number| format!("data/{number}"));
            let names: Vec<String> = before.into_iter().chain(data).chain(["version".to_owned()]).collect();
            assert_eq!(of_names(names.iter().map(String::as_str)), expected, "{tensors} tensors");
        }
    }
}
