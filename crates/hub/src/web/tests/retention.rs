use super::*;

const PAGE: &str = "/ada/run/settings/storage";

async fn run() -> (Ground, String) {
    let ground = ground().await;
    let state = |loss: &str| format!(r#"{{"log_history": [{{"eval_loss": 9}}, {{"eval_loss": {loss}}}]}}"#);
    let (first, second) = (state("0.25"), state("0.5"));
    let files: &[(&str, &[u8])] = &[
        ("checkpoint-10/trainer_state.json", first.as_bytes()),
        ("checkpoint-20/trainer_state.json", second.as_bytes()),
        ("checkpoint-30/eval_results.json", br#"{"eval_loss": 0.75}"#),
        ("checkpoint-40/model.bin", b"weights"),
    ];
    ground.model("run", files).await;
    let key = format!("Bearer {}", ground.secret);
    (ground, key)
}

#[tokio::test]
async fn who_administrates_a_repository_sees_what_rules_would_give_up_and_saves_them() {
    let (ground, key) = run().await;
    let key = [(header::AUTHORIZATION, key.as_str())];
    assert!(!ground.page(PAGE).await.contains("What is kept"), "strangers have no form");
    let reply = ground.ask(PAGE, &key).await;
    check_sound(PAGE, &reply);
    assert!(reply.body.contains("What is kept") && !reply.body.contains("Saved."));

    let rules = "checkpoints-last=1&checkpoints-best=2&metric=eval_loss&versions-last=+7+&do=";
    let reply = ground.post(PAGE, &format!("{rules}preview"), &key).await;
    check_sound(PAGE, &reply);
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.body.contains("would remove 1 folder of"), "{}", reply.body);
    assert!(reply.body.contains("large files of 0 of 2 commits"), "{}", reply.body);
    for (folder, metric, why) in [
        ("checkpoint-10", "0.25", "among the best 2 by eval_loss"),
        ("checkpoint-20", "0.5", "among the best 2 by eval_loss"),
        ("checkpoint-30", "0.75", "<strong>no</strong>"),
        ("checkpoint-40", "", "among the last 1"),
    ] {
        let row = reply.body.lines().find(|line| line.contains(&format!(">{folder}<"))).unwrap();
        assert!(row.contains(&format!(">{metric}</td><td>{why}</td>")), "{row}");
    }
    let repo = ground.hub.repo(&ground.ada, RepoKind::Model, "ada/run").await.unwrap();
    assert!(ground.hub.retention(&repo).await.unwrap().0.is_empty(), "a preview saves nothing");

    let reply = ground.post(PAGE, &format!("{rules}save"), &key).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert_eq!(reply.headers[header::LOCATION], format!("{PAGE}?saved=1"));
    let reply = ground.ask(&format!("{PAGE}?saved=1"), &key).await;
    check_sound(PAGE, &reply);
    assert!(reply.body.contains("Saved.") && reply.body.contains(r#"name="checkpoints-best" value="2""#));
    assert!(reply.body.contains(r#"name="versions-last" value="7""#));
    let rules = ground.hub.retention(&repo).await.unwrap().0;
    assert_eq!(rules.checkpoints.unwrap().best.unwrap().metric, "eval_loss");
    // An empty form keeps everything.
    assert_eq!(ground.post(PAGE, "do=save", &key).await.status, StatusCode::SEE_OTHER);
    assert!(ground.hub.retention(&repo).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn rules_that_make_no_sense_are_shown_again_and_strangers_set_none() {
    let (ground, key) = run().await;
    let key = [(header::AUTHORIZATION, key.as_str())];
    for (form, said) in [
        ("checkpoints-last=many", "`many` is no whole number"),
        ("versions-every=-1", "`-1` is no whole number"),
        ("checkpoints-last=99999999999999999999", "is no whole number"),
        ("checkpoints-last=0", "at least 1"),
        ("checkpoints-best=2", "needs a name"),
        ("checkpoints-last=%3Cb%3E", "is no whole number"),
    ] {
        for order in ["save", "preview"] {
            let reply = ground.post(PAGE, &format!("{form}&do={order}"), &key).await;
            assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{form}");
            check_sound(PAGE, &reply);
            assert!(reply.body.contains(said), "{form}\n{}", reply.body);
            assert!(!reply.body.contains("<b>"), "{form}");
        }
    }
    let rules = "checkpoints-last=1&do=save";
    assert_eq!(ground.post(PAGE, rules, &[]).await.status, StatusCode::UNAUTHORIZED);
    let elsewhere = [key[0].clone(), (header::ORIGIN, "https://evil.example")];
    assert_eq!(ground.post(PAGE, rules, &elsewhere).await.status, StatusCode::FORBIDDEN);
    let repo = ground.hub.repo(&ground.ada, RepoKind::Model, "ada/run").await.unwrap();
    assert!(ground.hub.retention(&repo).await.unwrap().0.is_empty());
}
