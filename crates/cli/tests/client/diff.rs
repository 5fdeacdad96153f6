//! `wh diff`: an exit code for scripts, the same answer near and far, and nothing of a file reaches the terminal raw.

use std::path::Path;

use crate::world::{World, code, text};

/// A small decoder; every `step`th number of the layer named is another one.
fn model(folder: &Path, changed: Option<u64>) {
    std::fs::create_dir_all(folder).unwrap();
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for layer in 0..4u64 {
        for part in ["attn.q", "mlp.up", "\u{1b}[31m.norm"] {
            let begin = data.len();
            for number in 0..64 * 64u64 {
                let plain = ((number * 7919 + layer * 104_729) % 2003) as f32 / 2003.0 - 0.5;
                let value = if changed == Some(layer) && number % 3 == 0 { plain * 1.5 } else { plain };
                data.extend(value.to_le_bytes());
            }
            let name = serde_json::to_string(&format!("model.layers.{layer}.{part}.weight")).unwrap();
            let end = data.len();
            entries.push(format!("{name}:{{\"dtype\":\"F32\",\"shape\":[64,64],\"data_offsets\":[{begin},{end}]}}"));
        }
    }
    let json = format!("{{{}}}", entries.join(","));
    let file = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &data].concat();
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    let config =
        format!("{{\"model_type\":\"llama\",\"rope\":{{\"theta\":{}}}}}", changed.map_or(1, |layer| layer + 2));
    std::fs::write(folder.join("config.json"), config).unwrap();
}

#[test]
fn the_exit_code_tells_equal_from_different_near_and_far() {
    let world = World::new();
    let (one, same, other) = (world.path("one"), world.path("same"), world.path("other"));
    model(&one, None);
    model(&same, None);
    model(&other, Some(1));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| world.client(&world.url(), &[&["diff"], arguments].concat()).output().unwrap();
    let equal = run(&[&path(&one), &path(&same)]);
    assert_eq!((code(&equal), text(&equal.stderr).as_str()), (0, ""));
    assert!(text(&equal.stdout).starts_with("identical weights: 12 tensors, bit for bit"), "{}", text(&equal.stdout));
    let near = run(&[&path(&one), &path(&other), "--json"]);
    assert_eq!((code(&near), text(&near.stderr).as_str()), (10, ""));
    let near: serde_json::Value = serde_json::from_slice(&near.stdout).unwrap();
    assert_eq!(near["schema"], "weighthouse.diff/1");
    assert_eq!(near["config"]["changes"][0]["key"], "rope.theta");
    assert_eq!((&near["totals"]["changed"], &near["totals"]["equal"]), (&3.into(), &9.into()));

    world.json(&world.url(), &["push", &path(&one), "admin/one", "--create"]);
    world.json(&world.url(), &["push", &path(&other), "admin/other", "--create"]);
    let far = run(&["hub:admin/one", "hub:admin/other@main", "--json"]);
    assert_eq!(code(&far), 10, "{}", text(&far.stderr));
    let far: serde_json::Value = serde_json::from_slice(&far.stdout).unwrap();
    assert_eq!((&far["verdict"], &far["tensors"]), (&near["verdict"], &near["tensors"]));
    assert!(far["wire_bytes"].as_u64().unwrap() > 300_000);
    assert_eq!(code(&run(&[&path(&one), "hub:admin/one"])), 0);
    // What a hub says is the same file is not fetched to see it: windows around headers, less than one of the files.
    let again = run(&["hub:admin/one", "hub:admin/one:model.safetensors", "--json"]);
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(again["wire_bytes"].as_u64().unwrap() < 12 * 64 * 64 * 4, "{}", again["wire_bytes"]);
}

#[test]
fn what_is_shown_is_for_people_and_what_fails_has_a_way_out() {
    let world = World::new();
    let (one, other) = (world.path("one"), world.path("other"));
    model(&one, None);
    model(&other, Some(3));
    let (one, other) = (one.to_str().unwrap(), other.to_str().unwrap());
    let run = |arguments: &[&str]| world.program(&[&["diff", one, other], arguments].concat()).output().unwrap();
    for arguments in [&[][..], &["--tensors", "."], &["--with", one], &["--tensors", "nothing"]] {
        let done = run(arguments);
        assert_eq!(code(&done), 10, "{}", text(&done.stderr));
        let shown = text(&done.stdout);
        assert!(shown.starts_with("frozen backbone: only layer 3 changed"), "{arguments:?}: {shown}");
        assert!(!shown.contains('\u{1b}'), "{arguments:?}: {shown:?}");
    }
    let shown = text(&run(&[]).stdout);
    assert!(shown.contains("attn.q") && shown.contains("rope.theta  1 → 5"), "{shown}");
    let missing = world.program(&["diff", one, "no/such-folder"]).output().unwrap();
    assert_eq!(code(&missing), 4);
    assert!(text(&missing.stderr).contains("hub:no/such-folder"), "{}", text(&missing.stderr));
    assert_eq!(code(&run(&["--tensors", "("])), 2);
}
