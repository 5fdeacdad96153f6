//! Folders as they are found on disks, friendly and hostile ones.

mod finding;
mod freeing;
mod linking;

use std::fs;
use std::path::{Path, PathBuf};

use super::{Options, Report, look};

fn put(folder: &Path, path: &str, bytes: &[u8]) -> PathBuf {
    let place = folder.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, bytes).unwrap();
    place
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(next).collect()
}

/// A safetensors file of F16 tensors.
fn safetensors(tensors: &[(&str, Vec<u8>)]) -> Vec<u8> {
    safetensors_of("F16", 2, tensors)
}

fn safetensors_of(dtype: &str, width: usize, tensors: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = serde_json::json!({ "dtype": dtype, "shape": [bytes.len() / width], "data_offsets": offsets });
        header.insert((*name).to_owned(), entry);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn found(roots: &[&Path]) -> Report {
    let roots: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    look(&roots, &Options::default(), &|_, _| {}, &|_, _| {}).unwrap()
}

/// A cache of the Hugging Face clients with one repository of two snapshots.
fn hf_cache(root: &Path) -> PathBuf {
    let repo = root.join("models--org--name");
    let (old, new) = ("a".repeat(40), "b".repeat(40));
    for (blob, bytes) in [("w1", noise(1, 50_000)), ("w2", noise(2, 50_000)), ("c1", b"{\"a\":1}".to_vec())] {
        put(&repo, &format!("blobs/{blob}"), &bytes);
    }
    put(&repo, "blobs/w3.incomplete", &noise(3, 9_000));
    for (commit, path, target) in [
        (&old, "model.safetensors", "../../blobs/w1"),
        (&old, "config.json", "../../blobs/c1"),
        (&new, "model.safetensors", "../../blobs/w2"),
        (&new, "sub/config.json", "../../../blobs/c1"),
    ] {
        let link = repo.join("snapshots").join(commit).join(path);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, link).unwrap();
    }
    put(&repo, "refs/main", new.as_bytes());
    repo
}
