//! `wh scan hub:…`: the report of the hub where it says all, the files themselves where they are asked for.

use serde_json::Value;

use crate::world::{World, code, text, wait_until};

/// Runs a program when it is unpickled, if anybody did.
const POISON: &[u8] = b"cos\nsystem\n(S'true'\ntR.";

fn scanned(world: &World, arguments: &[&str]) -> (i32, Value, String) {
    let url = world.url();
    let all: Vec<&str> = ["scan", "--json"].into_iter().chain(arguments.iter().copied()).collect();
    let done = world.client(&url, &all).output().unwrap();
    (code(&done), serde_json::from_slice(&done.stdout).unwrap_or_default(), text(&done.stderr))
}

#[test]
fn what_the_hub_has_judged_is_not_read_again() {
    let world = World::new();
    let folder = world.path("model");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.pkl"), POISON).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    let near = scanned(&world, &[folder.to_str().unwrap()]).1;
    assert_eq!((&near["source"], &near["verdict"]), (&"scan".into(), &"unsafe".into()));
    world.json(&world.url(), &["push", folder.to_str().unwrap(), "admin/m", "--create"]);
    wait_until("the hub judges it", || scanned(&world, &["hub:admin/m"]).1["source"] == "hub");

    // Nobody gets the bytes of this file any more, and still it is told what they are.
    let (exit, far, said) = scanned(&world, &["hub:admin/m"]);
    assert_eq!((exit, &far["verdict"], &far["target"]["name"]), (3, &"unsafe".into(), &"hub:admin/m".into()));
    assert!(said.contains("the report of the hub, by rules") && said.contains("--anew"), "{said}");
    let findings = |report: &Value| -> Vec<Value> {
        report["findings"].as_array().unwrap().iter().map(|found| found["detail"].clone()).collect()
    };
    assert_eq!(findings(&far), findings(&near));
    let (exit, file, _) = scanned(&world, &["hub:admin/m:config.json"]);
    assert_eq!((exit, &file["source"], &file["verdict"]), (0, &"hub".into(), &"safe".into()));
    assert_eq!(file["files"].as_array().unwrap().len(), 1);

    let (exit, anew, said) = scanned(&world, &["hub:admin/m", "--anew"]);
    assert_eq!((exit, &anew["source"], &anew["verdict"]), (3, &"scan".into(), &"error".into()));
    assert!(!said.contains("report of the hub"), "{said}");
    let quiet = world.client(&world.url(), &["scan", "--quiet", "hub:admin/m"]).output().unwrap();
    assert!(quiet.stderr.is_empty() && text(&quiet.stdout).contains("os.system"), "{}", text(&quiet.stdout));
    let lost = scanned(&world, &["hub:admin/m:none.bin"]);
    assert_eq!(lost.0, 4, "{}", lost.2);
}
