//! A hub whose bytes lie in a bucket, where `WH_TEST_S3` names one (`s3://…`, with the `AWS_*` variables to reach it).

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use weighthouse_testkit::noise;

use crate::world::{World, count, text, wait_until};
use crate::{postgres, roads};

const MIB: usize = 1 << 20;

/// Names of the variables that say how to reach the bucket.
const VARIABLES: [&str; 5] =
    ["AWS_ENDPOINT", "AWS_ALLOW_HTTP", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// A hub over a part of the bucket that no other test uses.
fn world(flags: &[&str]) -> Option<World> {
    let Ok(url) = std::env::var("WH_TEST_S3") else {
        println!("not run: WH_TEST_S3 is not set");
        return None;
    };
    let variables: Vec<_> = VARIABLES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let storage = format!("{url}/{unique}-{}", std::process::id());
    Some(World::with(&[flags, &["--storage", &storage]].concat(), &variables))
}

#[test]
fn a_model_goes_into_a_bucket_and_comes_back() {
    let Some(world) = world(&[]) else { return };
    let (model, url) = (world.model(40 * MIB), world.url());
    let pushed = world.json(&url, &["push", model.to_str().unwrap(), "admin/m", "--create"]);
    assert!(pushed["wire_bytes"].as_u64().unwrap() > 40 << 20, "{pushed}");
    assert_eq!(count(&world.path("data/blobs"), ""), 0, "nothing lies in the data folder");
    let pulled = |to: &str| {
        let to = world.path(to);
        world.json(&url, &["pull", "admin/m", to.to_str().unwrap()]);
        for name in ["model.bin", "README.md"] {
            assert!(std::fs::read(model.join(name)).unwrap() == std::fs::read(to.join(name)).unwrap(), "{name}");
        }
    };
    pulled("first");
    world.kill_hub();
    world.start_hub();
    pulled("second");

    let hub = world.wire();
    roads::plain(&hub, "admin/m", "a.txt", "a").unwrap().check(&hub);
    roads::lfs(&hub, "admin/m", "lfs.bin", &noise(1, 12 * MIB)).unwrap().check(&hub);
    roads::xet(&hub, "admin/m", "xet.bin", &noise(2, 12 * MIB)).unwrap().check(&hub);
    roads::last_part(&hub, "admin/m", &noise(3, 12 * MIB)).unwrap().ok();
}

#[test]
fn an_upload_into_a_bucket_outlives_a_killed_hub() {
    let Some(world) = world(&[]) else { return };
    let model = world.model(60 * MIB);
    let push = ["push", model.to_str().unwrap(), "admin/m", "--create", "--json"];
    let child = world.client(&world.url(), &push).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("a pack is begun", || world.count_rows("packs WHERE sealed = 0") > 0);
    world.kill_hub();
    world.start_hub();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let to = world.path("back");
    world.json(&world.url(), &["pull", "admin/m", to.to_str().unwrap()]);
    assert!(std::fs::read(model.join("model.bin")).unwrap() == std::fs::read(to.join("model.bin")).unwrap());
    assert_eq!(world.count_rows("packs WHERE sealed = 0"), 0);
}

#[test]
fn two_hubs_share_a_database_and_a_bucket() {
    let Some(database) = postgres::fresh_database("two_hubs") else { return };
    let Some(first) = world(&["--database", &database]) else { return };
    let (hub, other) = (first.wire(), first.start_another_hub());
    roads::create(&hub, "admin/m");
    // In turns, so that each must see what the other has written.
    for round in 0..3 {
        let data = noise(round, 3 * MIB);
        roads::lfs(&hub, "admin/m", &format!("{round}.lfs"), &data).unwrap().check(&other);
        roads::xet(&other, "admin/m", &format!("{round}.xet"), &data[MIB..]).unwrap().check(&hub);
        roads::plain(&hub, "admin/m", "same.txt", &format!("{round} first")).unwrap().check(&other);
        roads::plain(&other, "admin/m", "same.txt", &format!("{round} second")).unwrap().check(&hub);
    }
}
