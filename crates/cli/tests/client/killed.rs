//! SIGKILL in the middle, on either side.

use std::process::Stdio;

use crate::world::{World, count, kill, slow_line, text, wait_until};

const MIB: usize = 1 << 20;
const SIZE: usize = 200 * MIB;

fn bytes(json: &serde_json::Value, key: &str) -> usize {
    usize::try_from(json[key].as_u64().unwrap()).unwrap()
}

fn assert_complete(world: &World, folder: &str) {
    for name in ["model.bin", "README.md"] {
        let (sent, got) = (world.path("model").join(name), world.path(folder).join(name));
        assert!(std::fs::read(sent).unwrap() == std::fs::read(got).unwrap(), "{name} differs");
    }
}

#[test]
fn a_killed_push_goes_on_where_it_was() {
    let world = World::new();
    let (line, model) = (slow_line(&world), world.model(SIZE));
    let push = ["push", model.to_str().unwrap(), "admin/m", "--create", "--parallel", "2"];
    let child = world.client(&line, &push).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    // Two xorbs of 32 MiB are noted once the hub has acknowledged them.
    wait_until("two xorbs are noted", || count(&world.path("cache"), "") >= 2);
    kill(child);
    let done = world.json(&line, &push);
    assert!(bytes(&done, "reused_bytes") >= 60 * MIB, "{done}");
    assert!(bytes(&done, "wire_bytes") < SIZE - 60 * MIB, "{done}");
    world.json(&world.url(), &["pull", "admin/m", world.path("back").to_str().unwrap()]);
    assert_complete(&world, "back");
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let world = World::new();
    let (line, model) = (slow_line(&world), world.model(SIZE));
    world.json(&world.url(), &["push", model.to_str().unwrap(), "admin/m", "--create"]);
    let to = world.path("back");
    let pull = ["pull", "admin/m", to.to_str().unwrap(), "--streams", "2"];
    let child = world.client(&line, &pull).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("a partial file is noted", || count(&to.join(".cache/weighthouse/parts"), ".json") > 0);
    kill(child);
    assert!(!to.join("model.bin").exists(), "no file in place is incomplete");
    let done = world.json(&line, &pull);
    assert!(bytes(&done, "wire_bytes") < SIZE - 10 * MIB, "{done}");
    assert_complete(&world, "back");
    assert_eq!(count(&to.join(".cache/weighthouse/parts"), ""), 0, "nothing is left behind");
}

#[test]
fn transfers_outlive_a_killed_hub() {
    let world = World::new();
    let (line, model) = (slow_line(&world), world.model(SIZE));
    let push = ["push", model.to_str().unwrap(), "admin/m", "--create", "--parallel", "2", "--json"];
    let child = world.client(&line, &push).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("a xorb is noted", || count(&world.path("cache"), "") >= 1);
    world.kill_hub();
    world.start_hub();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));

    let to = world.path("back");
    let pull = ["pull", "admin/m", to.to_str().unwrap(), "--streams", "2", "--json"];
    let child = world.client(&line, &pull).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("a partial file is noted", || count(&to.join(".cache/weighthouse/parts"), ".json") > 0);
    world.kill_hub();
    world.start_hub();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_complete(&world, "back");
}
