//! History is real git: `git` itself agrees on every id.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::site::{Site, deleted, file};

fn git(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "git {arguments:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Rebuilds a revision with git from what the API says, and returns the commit id git computes.
async fn rebuilt(site: &Site, folder: &Path, commit: &str) -> String {
    let list = site.get("", &format!("/api/models/ada/m/tree/{commit}?recursive=true")).await.ok().json();
    git(folder, &["read-tree", "--empty"], b"");
    for entry in list.as_array().unwrap().iter().filter(|entry| entry["type"] == "file") {
        let path = entry["path"].as_str().unwrap();
        let encoded: String = path.split('/').map(|part| part.replace(' ', "%20")).collect::<Vec<_>>().join("/");
        let raw = site.get("", &format!("/ada/m/raw/{commit}/{encoded}")).await.ok().body;
        let oid = git(folder, &["hash-object", "-w", "--stdin"], &raw);
        assert_eq!(oid, entry["oid"].as_str().unwrap(), "{path}");
        git(folder, &["update-index", "--add", "--cacheinfo", &format!("100644,{oid},{path}")], b"");
    }
    let tree = git(folder, &["write-tree"], b"");
    let log = site.get("", &format!("/api/models/ada/m/commits/{commit}?limit=1")).await.ok().json();
    let date = log[0]["date"].as_str().unwrap().replace(".000Z", "+00:00");
    let message = match log[0]["message"].as_str().unwrap() {
        "" => log[0]["title"].as_str().unwrap().to_owned(),
        body => format!("{}\n\n{body}", log[0]["title"].as_str().unwrap()),
    };
    let mut arguments = vec!["commit-tree".to_owned(), tree];
    for parent in log[0]["parents"].as_array().unwrap() {
        arguments.extend(["-p".to_owned(), parent.as_str().unwrap().to_owned()]);
    }
    let who = [("NAME", "ada"), ("EMAIL", "ada@users.noreply.weighthouse"), ("DATE", date.as_str())];
    let mut command = Command::new("git");
    command.args(&arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    for (key, value) in who {
        command.env(format!("GIT_AUTHOR_{key}"), value).env(format!("GIT_COMMITTER_{key}"), value);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn every_commit_has_the_id_that_git_computes() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let large = weighthouse_testkit::noise(1, 400_000);
    let lfs = site.upload("m", "weights/model one.bin", &large).await;
    let odd = site.upload("m", "odd [x] *.dat", &large[..200_000]).await;
    let commits = [
        vec![file("a.txt", b"a\n"), file("a/b/c.txt", b"deep"), file("a0", b""), file("a-b/x", b"sorting")],
        vec![lfs, odd, file("README.md", "# grüße\n".as_bytes())],
        vec![deleted("a/b"), file("a/z.txt", b"z")],
    ];
    for (i, lines) in commits.iter().enumerate() {
        let header = json!({ "summary": format!("commit {i}"), "description": if i == 1 { "with a body\n\nand more" } else { "" } });
        site.commit_to("m", "main", header, lines).await.ok();
    }
    site.post(&site.ada, "/api/models/ada/m/branch/side", &json!({})).await.ok();
    site.commit_to("m", "side", json!({ "summary": "aside" }), &[file("side.txt", b"s")]).await.ok();
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"], b"");
    let mut seen = 0;
    for branch in ["main", "side"] {
        let log = site.get("", &format!("/api/models/ada/m/commits/{branch}")).await.ok().json();
        let ids: Vec<String> = log.as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect();
        for id in ids.iter().rev() {
            assert_eq!(&rebuilt(&site, folder.path(), id).await, id, "{log}");
            seen += 1;
        }
    }
    assert_eq!(seen, 9);
    git(folder.path(), &["fsck", "--strict"], b"");
    // Git's own reading of .gitattributes gives both large files to LFS.
    let attributes = site.get("", "/ada/m/resolve/main/.gitattributes").await.ok().body;
    std::fs::write(folder.path().join(".gitattributes"), &attributes).unwrap();
    for path in ["weights/model one.bin", "odd [x] *.dat"] {
        let answer = git(folder.path(), &["check-attr", "filter", "--", path], b"");
        assert!(answer.ends_with("filter: lfs"), "{answer}");
    }
}
