//! What is found, and what is left alone.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;

use super::super::content::Content;
use super::super::{Layout, Options, look};
use super::{found, hf_cache, noise, put, safetensors, safetensors_of};

#[test]
fn a_file_counts_once_whatever_its_names() {
    let root = tempfile::tempdir().unwrap();
    let bytes = noise(1, 20_000);
    let one = put(root.path(), "a/one.bin", &bytes);
    fs::hard_link(&one, root.path().join("a/again.bin")).unwrap();
    symlink(&one, root.path().join("a/link.bin")).unwrap();
    assert!(found(&[root.path()]).duplicates.is_empty());
    let two = put(root.path(), "b/two.bin", &bytes);
    put(root.path(), "b/other.bin", &noise(2, 20_000));
    let report = found(&[root.path()]);
    let [group] = report.duplicates.as_slice() else { panic!("{:?}", report.duplicates) };
    assert_eq!((group.size_bytes, group.copies.len(), group.link_bytes), (20_000, 2, 20_000));
    assert_eq!(group.copies[0].paths.len(), 2, "what has most names is kept");
    assert_eq!(group.copies[1].paths, [two.canonicalize().unwrap()]);
    assert_eq!((report.looked.links, report.looked.size_bytes), (1, 60_000));
    assert_eq!(report.freeable.duplicate_bytes, 20_000);
}

#[test]
fn loops_and_roots_inside_each_other_end() {
    let root = tempfile::tempdir().unwrap();
    let bytes = noise(1, 10_000);
    put(root.path(), "a/b/one", &bytes);
    put(root.path(), "a/two", &bytes);
    symlink(root.path(), root.path().join("a/b/up")).unwrap();
    symlink("loop", root.path().join("a/loop")).unwrap();
    symlink("/", root.path().join("a/slash")).unwrap();
    let (outer, inner) = (root.path().to_owned(), root.path().join("a/b"));
    let report = found(&[&inner, &outer, &inner, &outer.join("a/../a")]);
    assert_eq!(report.roots, [outer.canonicalize().unwrap()]);
    assert_eq!((report.looked.files, report.looked.links_out), (2, 3));
    assert_eq!(report.duplicates.len(), 1);
    assert!(look(&[root.path().join("none")], &Options::default(), &|_, _| {}, &|_, _| {}).is_err());
}

#[test]
fn links_are_not_followed_out_of_the_roots() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = noise(1, 10_000);
    put(root.path(), "m/model.bin", &bytes);
    let secret = put(outside.path(), "secret.bin", &bytes);
    symlink(&secret, root.path().join("m/out.bin")).unwrap();
    symlink(outside.path(), root.path().join("m/folder")).unwrap();
    let report = found(&[root.path()]);
    assert_eq!((report.duplicates.len(), report.looked.links_out, report.looked.files), (0, 2, 1));
    let content = Content::of(&report.models[0]);
    assert_eq!(content.places().len(), 1);
    assert_eq!(content.problems.count, 2, "{:?}", content.problems);
}

#[test]
fn what_is_being_written_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let bytes = noise(1, 10_000);
    for name in ["a.bin", "b.bin.incomplete", "c.part", "sha256-00-partial-2", "d.bin", "d.bin.aria2", ".wh-adopt-1-2"]
    {
        put(root.path(), name, &bytes);
    }
    let report = found(&[root.path()]);
    assert_eq!((report.duplicates.len(), report.looked.files, report.looked.partial_files), (0, 1, 6));
}

#[test]
fn names_that_are_no_text_are_compared_and_stay() {
    let root = tempfile::tempdir().unwrap();
    let bytes = noise(1, 10_000);
    put(root.path(), "m/model.bin", &bytes);
    fs::write(root.path().join("m").join(OsString::from_vec(b"bad\xff.bin".to_vec())), &bytes).unwrap();
    let report = found(&[root.path()]);
    assert_eq!(report.duplicates[0].copies.len(), 2);
    serde_json::to_string(&report).unwrap();
    let content = Content::of(&report.models[0]);
    assert_eq!((content.places().len(), content.problems.count), (1, 1));
}

#[test]
fn many_small_files_are_only_counted() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..2_000 {
        put(root.path(), &format!("{}/{number}", number % 7), b"small");
    }
    let report = found(&[root.path()]);
    assert_eq!((report.looked.small_files, report.looked.small_bytes), (2_000, 10_000));
    assert!(report.duplicates.is_empty());
}

#[test]
fn the_data_of_a_hub_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let bytes = noise(1, 10_000);
    put(root.path(), "data/catalog.sqlite", b"");
    put(root.path(), "data/blobs/packs/a", &bytes);
    put(root.path(), "data/blobs/packs/b", &bytes);
    let report = found(&[root.path()]);
    assert!(report.duplicates.is_empty() && report.looked.files == 0);
    assert!(report.problems.lines[0].message.contains("data folder of a hub"), "{:?}", report.problems);
}

#[test]
fn tensors_are_recognised_in_other_shards_and_in_a_fine_tune() {
    let root = tempfile::tempdir().unwrap();
    let (a, b, c, zero) = (noise(1, 20_000), noise(2, 30_000), noise(3, 30_000), vec![0; 8_000]);
    let tensors = |list: &[(&str, &Vec<u8>)]| {
        safetensors(&list.iter().map(|(name, bytes)| (*name, (*bytes).clone())).collect::<Vec<_>>())
    };
    put(root.path(), "base/model.safetensors", &tensors(&[("a", &a), ("b", &b), ("z", &zero)]));
    put(root.path(), "shards/model-00001-of-00002.safetensors", &tensors(&[("a", &a)]));
    put(root.path(), "shards/model-00002-of-00002.safetensors", &tensors(&[("b", &b)]));
    put(root.path(), "tuned/model.safetensors", &tensors(&[("a", &a), ("b", &c)]));
    put(root.path(), "else/model.safetensors", &tensors(&[("q", &noise(9, 20_000)), ("z", &zero)]));
    // An exact copy is told as such and adds nothing here.
    put(root.path(), "copy/model.safetensors", &tensors(&[("a", &a), ("b", &b), ("z", &zero)]));
    let report = found(&[root.path()]);
    assert_eq!(report.duplicates.len(), 1);
    let [near] = report.near.as_slice() else { panic!("{:?}", report.near) };
    let sets: Vec<_> = near.sets.iter().map(|set| (set.files, set.tensors, set.shared_bytes)).collect();
    assert_eq!(sets, [(1, 2, 50_000), (2, 2, 50_000), (1, 2, 20_000)]);
    assert_eq!((near.repeated_bytes, near.same), (70_000, false));
    assert!(near.sets[1].path.ends_with("shards/model-*-of-00002.safetensors"));
    fs::remove_dir_all(root.path().join("tuned")).unwrap();
    assert!(found(&[root.path()]).near[0].same);
}

#[test]
fn a_short_copy_is_told_from_its_master() {
    let root = tempfile::tempdir().unwrap();
    let values: Vec<f32> = noise(1, 10_000).iter().map(|byte| (f32::from(*byte) - 127.0) * 0.0123).collect();
    let master: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    // To the nearest, and to even between two.
    let short = |bits: u32| ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    let copy: Vec<u8> = values.iter().flat_map(|value| short(value.to_bits()).to_le_bytes()).collect();
    let other = noise(5, 6_000);
    put(root.path(), "master/model.safetensors", &safetensors_of("F32", 4, &[("a", master)]));
    let copied = [("a", copy), ("b", other)];
    put(root.path(), "copy/model.safetensors", &safetensors_of("BF16", 2, &copied));
    let report = found(&[root.path()]);
    let [near] = report.near.as_slice() else { panic!("{:?}", report.near) };
    let sets: Vec<_> = near.sets.iter().map(|set| (set.tensor_bytes, set.shared_bytes, set.rounded_bytes)).collect();
    assert_eq!(sets, [(26_000, 0, 20_000), (40_000, 0, 0)]);
    assert_eq!((near.repeated_bytes, near.same), (20_000, false));
    assert_eq!(report.freeable.tensor_bytes, 20_000);
}

#[test]
fn damaged_weights_hurt_no_others() {
    let root = tempfile::tempdir().unwrap();
    let good = safetensors(&[("a", noise(1, 20_000))]);
    put(root.path(), "a/model.safetensors", &good);
    put(root.path(), "b/model.safetensors", &safetensors(&[("x", noise(1, 20_000)), ("y", noise(4, 4_000))]));
    put(root.path(), "c/model.safetensors", &good[..10_000]);
    put(root.path(), "d/model.gguf", &[&b"GGUF\x03\0\0\0"[..], &[0xff; 9_000]].concat());
    let report = found(&[root.path()]);
    assert_eq!(report.near.len(), 1);
    assert_eq!(report.near[0].repeated_bytes, 20_000);
}

#[test]
fn a_cache_is_a_repository_with_its_snapshots_as_branches() {
    let root = tempfile::tempdir().unwrap();
    hf_cache(root.path());
    let report = found(&[root.path()]);
    let [model] = report.models.as_slice() else { panic!("{:?}", report.models) };
    assert_eq!((model.layout, model.name.as_str(), model.files), (Layout::HfCache, "org__name", 4));
    let content = Content::of(model);
    let shown: Vec<_> = content
        .revisions
        .iter()
        .map(|revision| {
            (revision.branch.as_str(), revision.files.iter().map(|f| f.stored.as_str()).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("main", vec!["model.safetensors", "sub/config.json"]),
            ("snapshot-aaaaaaaaaaaa", vec!["config.json", "model.safetensors"])
        ]
    );
    assert_eq!((content.places().len(), content.links.len(), content.problems.count), (3, 4, 0));
}

#[test]
fn ollama_models_are_told_by_their_manifests() {
    let root = tempfile::tempdir().unwrap();
    let digest = |bytes: &[u8]| crate::Sha256::of(bytes).to_string();
    let (weights, template) = (noise(1, 30_000), b"{{ .Prompt }}".to_vec());
    for bytes in [&weights, &template] {
        put(root.path(), &format!("blobs/sha256-{}", digest(bytes)), bytes);
    }
    let layer = |kind: &str, digest: &str| serde_json::json!({ "mediaType": format!("application/vnd.ollama.image.{kind}"), "digest": format!("sha256:{digest}"), "size": 1 });
    let manifest = serde_json::json!({
        "schemaVersion": 2, "layers": [layer("model", &digest(&weights)), layer("template", &digest(&template))],
    });
    put(root.path(), "manifests/registry.ollama.ai/library/llama3/8b", manifest.to_string().as_bytes());
    put(root.path(), "manifests/registry.ollama.ai/me/tuned/latest", manifest.to_string().as_bytes());
    let evil = serde_json::json!({ "layers": [layer("model", "../../../etc/passwd")] });
    put(root.path(), "manifests/h/n/m/t", evil.to_string().as_bytes());
    put(root.path(), "manifests/h/n/m/broken", b"no json");
    let report = found(&[root.path()]);
    let names: Vec<_> = report.models.iter().map(|model| (model.name.as_str(), model.size_bytes)).collect();
    assert!(names.contains(&("llama3-8b", 30_013)) || names.contains(&("llama3-8b", 0)), "{names:?}");
    assert!(names.iter().any(|(name, _)| *name == "me__tuned-latest"), "{names:?}");
    assert_eq!(report.models.iter().map(|model| model.size_bytes).sum::<u64>(), 30_013);
    let model = report.models.iter().find(|model| model.name == "llama3-8b").unwrap();
    let stored: Vec<_> = Content::of(model).places().iter().map(|file| file.stored.clone()).collect();
    assert_eq!(stored, ["model.gguf", "ollama/manifest.json", "ollama/template.txt"]);
    let evil = report.models.iter().find(|model| model.name == "n__m-t").unwrap();
    assert_eq!(Content::of(evil).problems.count, 1);
}
