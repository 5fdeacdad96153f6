use super::*;

const EVIL: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&{{7*7}}";

#[tokio::test]
async fn every_page_is_sound_and_has_its_json_twin() {
    let ground = ground().await;
    let sha = ground.model("m", &[("README.md", b"# Hi"), ("config.json", b"{}"), ("d/x.txt", b"x")]).await;
    ground.create(RepoKind::Dataset, "d", false).await;
    let pages = [
        "/",
        "/models",
        "/datasets",
        "/ada/m",
        "/datasets/ada/d",
        "/ada/m/tree/main",
        "/ada/m/tree/main/d",
        "/datasets/ada/d/tree/main",
        "/ada/m/blob/main/config.json",
        "/ada/m/blob/main/d/x.txt",
        "/ada/m/commits/main",
        &format!("/ada/m/commit/{sha}"),
        &format!("/ada/m/tree/{sha}"),
    ];
    for path in pages {
        let html = ground.page(path).await;
        let twin = ground.get(&twin(&html).replace("&#38;", "&")).await;
        assert_eq!(twin.status, StatusCode::OK, "{path}: {}", twin.body);
        assert!(twin.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/json"), "{path}");
        serde_json::from_str::<serde_json::Value>(&twin.body).unwrap();
    }
    ground.page("/login").await;
}

#[tokio::test]
async fn a_malicious_card_stays_text() {
    let ground = ground().await;
    let yaml = serde_json::to_string(EVIL).unwrap();
    let card = format!(
        "---\nlicense: {yaml}\nlanguage: [{yaml}]\ntags: [{yaml}]\npipeline_tag: {yaml}\nlibrary_name: {yaml}\n\
         base_model: {yaml}\ndatasets: {yaml}\n{yaml}: {yaml}\nmodel-index:\n- name: x\n  results:\n  - task: {{name: {yaml}}}\n    \
         dataset: {{name: {yaml}}}\n    metrics: [{{name: {yaml}, value: {yaml}}}]\n---\n# {EVIL}\n\n{EVIL}\n\n\
         ![x](https://tracker.example/a.png) <link rel=stylesheet href=//tracker.example/x.css> \
         <div style=\"position:fixed\" class=wrap id=main>x</div>\n"
    );
    let config = serde_json::json!({"model_type": EVIL, "architectures": [EVIL], "auto_map": {"AutoModel": EVIL}});
    let config = config.to_string();
    ground.model("m", &[("README.md", card.as_bytes()), ("config.json", config.as_bytes())]).await;
    for path in ["/ada/m", "/", "/ada/m/blob/main/README.md", "/ada/m/blob/main/config.json"] {
        let html = ground.page(path).await;
        assert!(!html.contains("<script") && !html.contains("<img src=x"), "{path}");
        assert!(!html.contains("\"//tracker") && !html.contains("src=\"https:"), "{path}");
        assert_eq!(html.matches("id=\"main\"").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn names_and_messages_are_escaped_wherever_they_stand() {
    let ground = ground().await;
    let names = ["<b>&\"x'.txt", "a b#c?d%20e.txt", "模型/权重 α.txt", "javascript:alert(1)", "&lt;.txt"];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, b"hello".as_slice())).collect();
    ground.create(RepoKind::Model, "m", false).await;
    let sha = ground.commit("m", EVIL, &files).await;
    for path in ["/ada/m/tree/main", "/ada/m/commits/main", &format!("/ada/m/commit/{sha}"), "/ada/m"] {
        let html = ground.page(path).await;
        assert!(!html.contains("<b>") && !html.contains("<script") && !html.contains("onerror=alert(1)>"), "{path}");
        assert!(!html.contains("href=\"javascript"), "{path}");
    }
    for name in names {
        let path = format!("/ada/m/blob/main/{}", crate::web::address::encode_path(name));
        assert!(ground.page(&path).await.contains("hello"), "{path}");
    }
    let searched = ground
        .page(&format!("/models?search={0}&filter={0}&author={0}&sort={0}", crate::web::address::encode_segment(EVIL)))
        .await;
    assert!(!searched.contains("<script"), "{searched}");
}

#[tokio::test]
async fn path_tricks_lead_nowhere() {
    let ground = ground().await;
    ground.model("m", &[("d/x.txt", b"x")]).await;
    let tricks = [
        "/ada/m/blob/main/../../../etc/passwd",
        "/ada/m/blob/main/%2e%2e/%2e%2e/etc/passwd",
        "/ada/m/blob/main/d%2f..%2fx",
        "/ada/m/blob/main/d/x.txt/more",
        "/ada/m/tree/main/none",
        "/ada/m/tree/%2e%2e",
        "/ada/m/tree/none",
        "/ada/m/blob/main/%00",
        "/ada/m/blob/main/\\..\\x",
        "/ada/m/commit/zzz",
        "/ada/m/commit/0000000",
        "/~page/home",
        "/%7Epage/home",
        "/ada/none",
        "/ada/m/unknown",
        "/assets/../x",
        "/assets/none.css",
        "/datasets/ada/m",
        "/ada/m/blob/main/d%5Cx.txt",
    ];
    for path in tricks {
        let reply = ground.get(path).await;
        assert!(reply.status.is_client_error(), "{path}: {}", reply.status);
    }
    let missing = ground.get("/ada/m/blob/main/none.txt").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    check_sound("missing file", &missing);
    assert!(missing.body.contains("No such file"));
    let huge = ground.get(&format!("/ada/m/blob/main/{}", "a/".repeat(3_000))).await;
    assert!(huge.status.is_client_error());
}

#[tokio::test]
async fn folders_and_files_find_each_other() {
    let ground = ground().await;
    ground.model("m", &[("d/x.txt", b"x")]).await;
    let to = async |path: &str| {
        let reply = ground.get(path).await;
        assert!(reply.status.is_redirection(), "{path}: {}", reply.status);
        reply.headers[header::LOCATION].to_str().unwrap().to_owned()
    };
    assert_eq!(to("/ada/m/blob/main/d").await, "/ada/m/tree/main/d");
    assert_eq!(to("/ada/m/tree/main/d/x.txt").await, "/ada/m/blob/main/d/x.txt");
    assert_eq!(to("/ada/m/commits/main/d").await, "/ada/m/commits/main");
    assert_eq!(to("/ada").await, "/models?author=ada");
    let repo = ground.hub.repo(&ground.ada, RepoKind::Model, "ada/m").await.unwrap();
    ground.hub.move_repo(&ground.ada, &repo, "ada/new").await.unwrap();
    assert_eq!(to("/ada/m/tree/main/d?p=0").await, "/ada/new/tree/main/d?p=0");
}

#[tokio::test]
async fn a_huge_card_is_cut_and_quick() {
    let ground = ground().await;
    let card = format!("---\nlicense: mit\n---\n{}", "Some *words* of a [card](x).\n\n".repeat(100_000));
    ground.model("m", &[("README.md", card.as_bytes())]).await;
    let html = ground.page("/ada/m").await;
    assert!(html.len() < 4 << 20 && html.contains("Read all of it as text"), "{}", html.len());
    let source = ground.page("/ada/m/blob/main/README.md").await;
    assert!(source.contains("too long to be shown"));
}

#[tokio::test]
async fn a_folder_of_ten_thousand_comes_in_pages() {
    let ground = ground().await;
    let names: Vec<String> = (0..10_000).map(|i| format!("many/f{i:05}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect();
    ground.model("m", &files).await;
    let first = ground.page("/ada/m/tree/main/many").await;
    assert_eq!(first.matches("/ada/m/blob/main/many/").count(), 100);
    assert!(first.contains("Entries 1 to 100 of 10000") && first.contains("href=\"/ada/m/tree/main/many?p=1\""));
    let last = ground.page("/ada/m/tree/main/many?p=99").await;
    assert!(last.contains("f09999.txt") && !last.contains("rel=\"next\"") && last.contains("?p=98"));
    for beyond in ["100", "18446744073709551615"] {
        assert_eq!(ground.page(&format!("/ada/m/tree/main/many?p={beyond}")).await.matches("/blob/").count(), 0);
    }
    assert_eq!(ground.get("/ada/m/tree/main/many?p=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_file_shows_its_identity_and_what_can_be_read() {
    let ground = ground().await;
    let header = br#"{"w.1":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header);
    weights.resize(weights.len() + 24, 0);
    let long = format!("{}\n", "y".repeat(100_000)) + &"z\n".repeat(20_000);
    let files: &[(&str, &[u8])] = &[
        ("a.txt", b"<b>one</b>\ntwo\n"),
        ("empty", b""),
        ("zero.bin", b"a\0b"),
        ("latin.txt", b"caf\xe9"),
        ("long.txt", long.as_bytes()),
        ("big.txt", &[b'a'; 700_000]),
        ("w.safetensors", &weights),
        ("bad.safetensors", b"12345678{}"),
        ("p.png", b"\x89PNG"),
        ("evil.svg", b"<svg onload=alert(1)>"),
    ];
    ground.model("m", files).await;
    let page = async |name: &str| ground.page(&format!("/ada/m/blob/main/{name}")).await;
    let text = page("a.txt").await;
    // sha256sum of the content.
    assert!(text.contains(&weighthouse::Sha256::of(b"<b>one</b>\ntwo\n").to_string()));
    assert!(text.contains("<li id=\"L1\"><code>&#60;b&#62;one&#60;/b&#62;</code></li>"), "{text}");
    assert!(text.contains("href=\"/ada/m/resolve/main/a.txt?download=true\""));
    for (name, says) in [
        ("empty", "This file is empty"),
        ("zero.bin", "not text"),
        ("latin.txt", "not text"),
        ("long.txt", "The end of long lines and files is not shown"),
        ("big.txt", "too long"),
        ("w.safetensors", "<td>2 × 3</td>"),
        ("bad.safetensors", "not a sound safetensors file"),
        ("p.png", "<img src=\"/ada/m/resolve/main/p.png\""),
        ("evil.svg", "&#60;svg onload"),
    ] {
        assert!(page(name).await.contains(says), "{name}");
    }
    let tree = ground.page("/ada/m/tree/main").await;
    assert!(tree.contains(&weighthouse::Sha256::of(b"").to_string()[..8]), "digest beside the download");
}

#[tokio::test]
async fn history_shows_each_commit_and_what_it_changed() {
    let ground = ground().await;
    ground.model("m", &[("a.txt", b"1"), ("b.txt", b"1")]).await;
    let sha = ground.commit("m", "Second thoughts", &[("a.txt", b"22"), ("c/d.txt", b"3")]).await;
    for number in 0..60 {
        ground.commit("m", &format!("step {number}"), &[("n.txt", format!("{number}").as_bytes())]).await;
    }
    let first = ground.page("/ada/m/commits/main").await;
    assert!(first.contains("63 commits") && first.contains("step 59") && first.contains("?p=1"));
    let second = ground.page("/ada/m/commits/main?p=1").await;
    assert!(
        second.contains("Second thoughts") && second.contains("initial commit") && !second.contains("rel=\"next\"")
    );
    let commit = ground.page(&format!("/ada/m/commit/{sha}")).await;
    for part in ["Second thoughts", "2 changed files", "a.txt", "1 byte → 2 bytes", "c/d.txt", &sha, "added"] {
        assert!(commit.contains(part), "{part}\n{commit}");
    }
    assert!(!commit.contains("b.txt"));
}

#[tokio::test]
async fn lists_are_searched_filtered_sorted_and_paged() {
    let ground = ground().await;
    for number in 0..35 {
        ground.create(RepoKind::Model, &format!("model-{number:02}"), false).await;
    }
    ground.model("other", &[("README.md", b"---\nlicense: mit\ntags: [blue sky]\n---\n")]).await;
    let first = ground.page("/models").await;
    assert_eq!(first.matches("<h2>").count(), 30);
    assert!(first.contains("href=\"/models?p=1\"") && ground.page("/models?p=1").await.matches("<h2>").count() == 6);
    assert_eq!(ground.page("/models?search=MODEL-0").await.matches("<h2>").count(), 10);
    assert_eq!(ground.page("/models?author=eve").await.matches("<h2>").count(), 0);
    let tagged = ground.page("/models?filter=blue%20sky&filter=license%3Amit&search=oth&sort=createdAt").await;
    assert_eq!(tagged.matches("<h2>").count(), 1);
    assert!(tagged.contains("href=\"/models?search=oth&#38;sort=createdAt&#38;filter=license%3Amit\""), "{tagged}");
    assert!(tagged.contains("<option value=\"createdAt\" selected>"));
    assert!(ground.page("/datasets").await.contains("Nothing here yet"));
    assert!(ground.page("/models?search=none").await.contains("Nothing here fits"));
}

#[tokio::test]
async fn the_lines_to_copy_name_this_hub() {
    let ground = ground().await;
    let config = br#"{"architectures":["GPT2LMHeadModel"],"model_type":"gpt2"}"#;
    ground.model("m", &[("config.json", config), ("tokenizer.json", b"{}"), ("x.Q4.gguf", b"GGUF")]).await;
    let html = ground.page("/ada/m").await;
    for part in [
        "export HF_ENDPOINT=http://hub.example:7070",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "hf download ada/m",
        "vllm serve ada/m",
        "llama-server -hf ada/m",
        "wh pull ada/m m",
        "curl -L -O http://hub.example:7070/ada/m/resolve/main/x.Q4.gguf",
        "endpoint=&#34;http://hub.example:7070&#34;",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    let spoofed = ground.ask("/ada/m", &[(header::HeaderName::from_static("x-forwarded-host"), "a\"><script>")]).await;
    assert!(!spoofed.body.contains("<script"));
}

#[tokio::test]
async fn the_stylesheet_is_kept_by_browsers_for_good() {
    let ground = ground().await;
    let html = ground.page("/").await;
    for (mark, kind) in
        [("rel=\"stylesheet\" href=\"", "text/css; charset=utf-8"), ("type=\"image/svg+xml\" href=\"", "image/svg+xml")]
    {
        let address = html.split(mark).nth(1).unwrap().split('"').next().unwrap();
        let reply = ground.get(address).await;
        assert_eq!(reply.headers[header::CONTENT_TYPE], kind);
        assert_eq!(reply.headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    }
    let old = ground.get("/assets/style-0000000000000000.css").await;
    assert_eq!(old.headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn an_unreadable_card_says_why_and_shows_its_text() {
    let ground = ground().await;
    ground.model("m", &[("README.md", b"# fine")]).await;
    // Such a card comes in as a copy, or from a time before the check.
    let repo = ground.hub.repo(&ground.ada, RepoKind::Model, "ada/m").await.unwrap();
    ground.commit("m", "draft", &[("draft.md", b"---\na: [1\n---\n# Still here\n")]).await;
    let message = CommitMessage { title: "use it".to_owned(), body: String::new() };
    let mut commit =
        ground.hub.begin_commit(&ground.ada, &repo, Target::branch("main", None).unwrap(), message).unwrap();
    commit.copy("draft.md", "README.md").unwrap();
    commit.finish().await.unwrap();
    let html = ground.page("/ada/m").await;
    assert!(
        html.contains("The metadata of this card cannot be read")
            && html.contains("line ")
            && html.contains("Still here")
    );
}
