//! What the verbs print, and how they end.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use crate::world::{World, answers, code, free_port, kill, text, wait_until};

#[test]
fn login_keeps_a_token_that_the_hub_knows_and_no_other() {
    let world = World::new();
    let login = |token: &str| {
        let mut child = world
            .program(&["login", &world.url(), "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let refused = login(&format!("hf_{}\n", "x".repeat(40)));
    assert_eq!(code(&refused), 6, "{}", text(&refused.stderr));
    assert!(!world.path("config/login.toml").exists());
    assert_eq!(code(&login("\n")), 2);

    let done = login(&world.token);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&json["schema"], &json["user"]), (&"weighthouse.login/1".into(), &"admin".into()));
    assert!(!text(&done.stdout).contains(&world.token), "a token is never shown");

    let whoami = world.program(&["whoami"]).output().unwrap();
    assert_eq!(text(&whoami.stdout), "admin\n");
    let elsewhere = world.program(&["whoami", "--endpoint", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(code(&elsewhere), 8, "{}", text(&elsewhere.stderr));
}

#[test]
fn data_is_on_stdout_and_the_rest_is_not() {
    let world = World::new();
    let (model, url) = (world.model(1 << 20), world.url());
    let push = ["push", model.to_str().unwrap(), "m", "--create", "-m", "First\n\nWith a body"];
    let done = world.client(&url, &push).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stdout).starts_with(&format!("{url}/admin/m/commit/")), "a bare name is one's own");
    assert_eq!(text(&done.stdout).lines().count(), 1);
    assert!(text(&done.stderr).starts_with("committed 2 of 2 files (1.00 MiB)"), "{}", text(&done.stderr));
    let again = world.client(&url, &push).arg("--quiet").output().unwrap();
    assert_eq!((text(&again.stderr).as_str(), text(&again.stdout).trim().len()), ("", 40));

    let to = world.path("back");
    let pull = world.json(&url, &["pull", "admin/m@main", to.to_str().unwrap(), "--exclude", "*.bin"]);
    assert_eq!((&pull["schema"], &pull["files"]), (&"weighthouse.pull/1".into(), &2.into()));
    let repos = world.json(&url, &["repo", "list"]);
    assert_eq!(repos["repos"][0]["id"], "admin/m");
    let cached = world.client(&url, &["pull", "admin/m", "--cache"]).output().unwrap();
    let folder = text(&cached.stdout);
    assert!(folder.contains("home/.cache/huggingface/hub/models--admin--m/snapshots/"), "{folder}");
    assert!(std::path::Path::new(folder.trim()).join("model.bin").exists());
    world.json(&url, &["repo", "delete", "admin/m", "--yes"]);
    assert_eq!(world.json(&url, &["repo", "list"])["repos"], serde_json::json!([]));
}

#[test]
fn errors_have_a_code_and_a_way_out() {
    let world = World::new();
    let (model, url) = (world.model(1000), world.url());
    let model = model.to_str().unwrap();
    let to = world.path("x").display().to_string();
    for (arguments, expected, hint) in [
        (&["pull", "admin/none", &to][..], 4, "wh repo list"),
        (&["push", model, "admin/none"], 4, "--create"),
        (&["push", &to, "admin/none"], 4, ""),
        (&["push", model, "a/b/c"], 2, "NAMESPACE/NAME"),
        (&["push", model, "other/m", "--create"], 6, "administrator"),
        (&["repo", "delete", "admin/none"], 2, "--yes"),
        (&["pull", "admin/none"], 2, ""),
    ] {
        let done = world.client(&url, arguments).output().unwrap();
        let words = text(&done.stderr);
        assert_eq!(code(&done), expected, "{arguments:?}: {words}");
        assert!(words.contains("error: ") && words.contains(hint), "{arguments:?}: {words}");
        assert!(done.stdout.is_empty());
    }
    let mut anonymous = world.program(&["push", model, "admin/m"]);
    let done = anonymous.env("HF_ENDPOINT", &url).output().unwrap();
    assert_eq!(code(&done), 6, "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("wh login"));
}

#[test]
fn a_quiet_first_start_says_where_the_token_is() {
    let world = World::new();
    let data = world.path("quiet");
    let said = |name: &str| {
        let (out, log) = (world.path(&format!("{name}.out")), world.path(name));
        let port = free_port();
        let mut command = world.program(&["serve", "--quiet", "--log", "warn"]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(&data);
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap());
        let hub = command.spawn().unwrap();
        wait_until("the hub answers", || answers(port).unwrap_or(false));
        kill(hub);
        assert_eq!(std::fs::read_to_string(out).unwrap(), "");
        std::fs::read_to_string(log).unwrap()
    };
    let first = said("first");
    let file = data.join("admin-token");
    assert_eq!(first.lines().count(), 1, "{first}");
    assert!(first.contains(file.to_str().unwrap()), "{first}");
    assert!(!first.contains(std::fs::read_to_string(&file).unwrap().trim()), "the token itself is not for logs");
    assert_eq!(said("second"), "");
}
