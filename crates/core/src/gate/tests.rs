use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weighthouse_store::catalog::jobs;
use weighthouse_trust::scan;

use super::*;
use crate::RepoKind;
use crate::access::{Caller, Repo};
use crate::revision::{MAIN, NewBranch};
use crate::tests::{self, Files};

/// Runs a program when it is unpickled, if anybody did.
const POISON: &[u8] = b"cos\nsystem\n(S'true'\ntR.";

struct Ground {
    hub: Hub,
    ada: Caller,
    bob: Caller,
    folder: tempfile::TempDir,
}

async fn open(folder: &tempfile::TempDir, scanner: Scanner) -> Hub {
    tests::hub_with(folder, |options| options.scanner = scanner).await
}

async fn ground(scanner: Scanner) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = open(&folder, scanner).await;
    // So that nothing is asked for beside what commits ask for.
    hub.judge_waiting().await.unwrap();
    let (ada, bob) = (tests::user(&hub, "ada").await, tests::user(&hub, "bob").await);
    Ground { hub, ada, bob, folder }
}

impl Ground {
    async fn repo(&self, name: &str, files: Files<'_>) -> (Repo, Revision) {
        let repo = tests::create(&self.hub, &self.ada, RepoKind::Model, name).await;
        let revision = self.commit(&repo, files).await;
        (repo, revision)
    }

    async fn commit(&self, repo: &Repo, files: Files<'_>) -> Revision {
        tests::commit(&self.hub, &self.ada, repo, MAIN, files).await.unwrap()
    }

    async fn as_bob(&self, repo: &Repo) -> Repo {
        self.hub.repo(&self.bob, RepoKind::Model, &repo.record.id).await.unwrap()
    }

    async fn word(&self, revision: &Revision, path: &str) -> &'static str {
        let file = self.hub.file(revision, "", path).await.unwrap();
        self.hub.status(revision, &file).await.unwrap().word()
    }

    /// Why the bytes are kept from a caller; `None` when they are not.
    async fn refusal(&self, caller: &Caller, repo: &Repo, revision: &Revision, path: &str) -> Option<String> {
        let file = self.hub.file(revision, "", path).await.unwrap();
        match self.hub.pass_file(caller, repo, revision, &file).await {
            Ok(_) => None,
            Err(Error::Blocked { reason }) => Some(reason),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_is_judged_bad_is_listed_and_does_not_leave() {
    let ground = ground(Scanner::default()).await;
    let (repo, at) = ground.repo("m", &[("model.pkl", POISON), ("config.json", b"{}")]).await;
    let theirs = ground.as_bob(&repo).await;
    assert_eq!(ground.word(&at, "model.pkl").await, "queued");
    assert!(ground.refusal(&ground.bob, &theirs, &at, "model.pkl").await.unwrap().contains("queued"));
    assert_eq!(ground.refusal(&ground.ada, &repo, &at, "model.pkl").await, None, "who wrote it may read it back");
    let waiting = ground.hub.tree_status(&at).await.unwrap();
    assert!(!waiting.is_done() && waiting.word() == "queued", "{waiting:?}");
    ground.hub.work_off().await.unwrap();
    assert_eq!((ground.word(&at, "model.pkl").await, ground.word(&at, "config.json").await), ("unsafe", "safe"));
    for (caller, repo) in [(&ground.bob, &theirs), (&ground.ada, &repo)] {
        let reason = ground.refusal(caller, repo, &at, "model.pkl").await.unwrap();
        assert!(reason.contains("`model.pkl` is unsafe") && reason.contains("os.system"), "{reason}");
        assert_eq!(ground.refusal(caller, repo, &at, "config.json").await, None);
        let file = ground.hub.file(&at, "", "model.pkl").await.unwrap();
        let passed = ground.hub.pass_content(caller, repo, &file.sha256, file.size_bytes).await;
        assert!(matches!(passed, Err(Error::Blocked { .. })), "{passed:?}");
        assert!(ground.hub.list(&at, "", "", false).await.unwrap().iter().any(|entry| entry.path() == "model.pkl"));
    }
    let done = ground.hub.tree_status(&at).await.unwrap();
    assert_eq!((done.word(), done.known.pickles, done.known.issues.len()), ("unsafe", 1, 1), "{done:?}");
    let file = ground.hub.file(&at, "", "model.pkl").await.unwrap();
    let report = ground.hub.file_report(&at, &file).await.unwrap().unwrap();
    assert_eq!(report.rules_version, scan::RULES_VERSION);
    let traces = ground.hub.traces(&file, &report.findings).await.unwrap();
    assert!(traces.iter().flatten().any(|line| line.here), "{traces:?}");
    let whole = ground.hub.revision_report(&at, "ada/m").await.unwrap();
    assert_eq!((whole.verdict, whole.files.len()), (Verdict::Unsafe, 3));
    assert_eq!(whole.findings, report.findings);
}

#[tokio::test]
async fn a_bad_content_does_not_leave_under_a_new_name() {
    let ground = ground(Scanner::default()).await;
    let (repo, _) = ground.repo("m", &[("model.pkl", POISON)]).await;
    ground.hub.work_off().await.unwrap();
    let at = ground.commit(&repo, &[("notes.txt", POISON)]).await;
    assert_eq!(ground.word(&at, "notes.txt").await, "queued");
    let reason = ground.refusal(&ground.ada, &repo, &at, "notes.txt").await.unwrap();
    assert!(reason.contains("unsafe"), "{reason}");
}

#[tokio::test]
async fn the_same_content_is_judged_once_under_a_path() {
    static SCANS: AtomicU32 = AtomicU32::new(0);
    let scanner = Scanner {
        run: |folder, path| {
            SCANS.fetch_add(1, Ordering::Relaxed);
            scan::scan_file(folder, path, &weighthouse_trust::scan::Options::default())
        },
        ..Scanner::default()
    };
    let ground = ground(scanner).await;
    let (repo, _) = ground.repo("m", &[("a.json", b"{}"), ("b.json", b"{}")]).await;
    ground.hub.work_off().await.unwrap();
    assert_eq!(SCANS.load(Ordering::Relaxed), 3);
    ground.commit(&repo, &[("c.json", b"{}")]).await;
    ground.repo("other", &[("a.json", b"{}")]).await;
    ground.hub.work_off().await.unwrap();
    assert_eq!(SCANS.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn data_without_a_format_is_judged_by_its_surroundings_each_time() {
    let ground = ground(Scanner::default()).await;
    let blob: Vec<u8> = (0..4000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (repo, alone) = ground.repo("m", &[("weights.bin", &blob)]).await;
    ground.hub.work_off().await.unwrap();
    let at = ground.commit(&repo, &[("weights.xml", b"<net/>")]).await;
    // The verdict without the file beside it does not hold here.
    assert_eq!(ground.word(&at, "weights.bin").await, "queued");
    ground.hub.work_off().await.unwrap();
    assert_eq!((ground.word(&alone, "weights.bin").await, ground.word(&at, "weights.bin").await), ("caution", "safe"));
}

#[tokio::test]
async fn a_scanner_that_fails_leaves_a_file_queued_and_at_last_an_error() {
    let scanner = Scanner {
        run: |folder, path| {
            assert!(!path.ends_with(".trap"), "the trap shut");
            scan::scan_file(folder, path, &weighthouse_trust::scan::Options::default())
        },
        ..Scanner::default()
    };
    let ground = ground(scanner).await;
    let (repo, at) = ground.repo("m", &[("a.trap", b"x"), ("b.json", b"{}")]).await;
    let subject = format!("{} {}", repo.record.key, at.oid);
    for attempt in 1..=3 {
        let job = ground.hub.catalog().jobs().get(jobs::SCAN, &subject).await.unwrap().unwrap();
        let job = weighthouse_store::catalog::Job { attempts: attempt, ..job };
        let done = ground.hub.judge_commit(&job).await;
        assert_eq!(ground.word(&at, "b.json").await, "safe", "the others need not wait");
        if attempt < 3 {
            assert!(done.is_err());
            assert_eq!(ground.word(&at, "a.trap").await, "queued");
            assert!(!ground.hub.tree_status(&at).await.unwrap().is_done());
        } else {
            done.unwrap();
        }
    }
    assert_eq!(ground.word(&at, "a.trap").await, "error");
    assert_eq!(ground.hub.tree_status(&at).await.unwrap().word(), "error");
}

#[tokio::test]
async fn a_file_that_takes_too_long_is_an_error_and_the_next_is_judged() {
    let scanner = Scanner {
        run: |folder, path| {
            if path.ends_with(".slow") {
                std::thread::sleep(Duration::from_millis(1_500));
            }
            scan::scan_file(folder, path, &weighthouse_trust::scan::Options::default())
        },
        patience: Duration::from_millis(200),
        ..Scanner::default()
    };
    let ground = ground(scanner).await;
    let (_, at) = ground.repo("m", &[("a.slow", b"x"), ("b.json", b"{}")]).await;
    ground.hub.work_off().await.unwrap();
    assert_eq!((ground.word(&at, "a.slow").await, ground.word(&at, "b.json").await), ("error", "safe"));
}

#[tokio::test]
async fn new_rules_judge_everything_anew_and_the_old_verdict_holds_until_then() {
    let scanner = Scanner { rules: 1, ..Scanner::default() };
    let ground = ground(scanner).await;
    let (repo, at) = ground.repo("m", &[("notes.txt", b"hello")]).await;
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.word(&at, "notes.txt").await, "safe");
    let Ground { hub, folder, .. } = ground;
    hub.close().await;
    drop(hub);
    let stricter = Scanner {
        rules: 2,
        run: |folder, path| {
            let mut scan = scan::scan_file(folder, path, &weighthouse_trust::scan::Options::default());
            scan.verdict = Verdict::Suspicious;
            scan
        },
        ..Scanner::default()
    };
    let hub = open(&folder, stricter).await;
    let file = hub.file(&at, "", "notes.txt").await.unwrap();
    let before = hub.status(&at, &file).await.unwrap();
    assert_eq!((before.word(), before.is_stale, before.rules), ("safe", true, 1));
    let whole = hub.tree_status(&at).await.unwrap();
    assert!(whole.is_done() && whole.is_stale, "{whole:?}");
    hub.work_off().await.unwrap();
    let after = hub.status(&at, &file).await.unwrap();
    assert_eq!((after.word(), after.is_stale, after.rules), ("suspicious", false, 2));
    assert!(!hub.tree_status(&at).await.unwrap().is_stale);
    let had = hub.catalog().verdicts().of_content(&repo.record.key, &file.sha256).await.unwrap();
    assert_eq!(had[0].1.as_ref().unwrap().verdict, "suspicious");
}

#[tokio::test]
async fn a_killed_worker_leaves_files_queued_and_the_next_start_judges_them() {
    let ground = ground(Scanner::default()).await;
    let (repo, at) = ground.repo("m", &[("model.pkl", POISON)]).await;
    let jobs = ground.hub.catalog().jobs();
    while jobs.take(jobs::SCAN, ground.hub.now_ms(), ground.hub.now_ms() + 300_000, 8).await.unwrap().is_some() {}
    // The jobs are held by a worker that is dead.
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.word(&at, "model.pkl").await, "queued");
    let theirs = ground.as_bob(&repo).await;
    assert!(ground.refusal(&ground.bob, &theirs, &at, "model.pkl").await.is_some());
    let Ground { hub, folder, .. } = ground;
    hub.close().await;
    drop(hub);
    let hub = open(&folder, Scanner::default()).await;
    hub.work_off().await.unwrap();
    let file = hub.file(&at, "", "model.pkl").await.unwrap();
    assert_eq!(hub.status(&at, &file).await.unwrap().word(), "unsafe");
}

#[tokio::test]
async fn a_storage_that_fails_is_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let hub = tests::hub(&folder).await;
    let ada = tests::user(&hub, "ada").await;
    let bob = Caller::anonymous();
    let ground = Ground { hub, ada, bob, folder };
    let (_, at) = ground.repo("m", &[("a.json", b"{\"a\": 1}")]).await;
    std::fs::rename(ground.folder.path().join("blobs"), ground.folder.path().join("away")).unwrap();
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.word(&at, "a.json").await, "queued");
    std::fs::rename(ground.folder.path().join("away"), ground.folder.path().join("blobs")).unwrap();
    let key = at.commit.tree;
    assert!(ground.hub.catalog().verdicts().tree(&key).await.unwrap().is_none());
}

#[test]
fn formats_have_one_word_for_policies() {
    let of = |formats: &[&str]| {
        FileFacts { formats: formats.iter().map(|name| (*name).to_owned()).collect(), ..FileFacts::default() }.format()
    };
    assert_eq!(of(&["safetensors"]), "safetensors");
    assert_eq!(of(&["torch", "zip"]), "torch");
    assert_eq!(of(&["pickle", "torch-legacy"]), "torch-legacy");
    assert_eq!(of(&["json"]), "");
    // What is also something else is not safetensors only.
    assert_eq!(of(&["pickle", "safetensors"]), "pickle+safetensors");
}

#[test]
fn a_long_report_keeps_its_worst_findings() {
    let mut scan = scan::failed("a", 1, &"x".repeat(3_000));
    let finding = scan.findings[0].clone();
    scan.findings = vec![finding; 1_000];
    scan.findings[0].detail = "the worst".to_owned();
    let kept = kept_report(scan);
    assert!(kept.len() <= MAX_REPORT_BYTES);
    let read: FileScan = serde_json::from_str(&kept).unwrap();
    assert_eq!(read.findings[0].detail, "the worst");
    assert!(!read.limits_hit.is_empty());
}

impl Ground {
    /// Repository, path and branches of what is in quarantine, read in parts of this many files.
    async fn quarantine(&self, part: usize) -> Vec<(String, String, Vec<String>)> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let list = self.hub.quarantined(None, after.as_deref(), part).await.unwrap();
            assert!(list.files.len() <= part);
            found.extend(list.files.into_iter().map(|file| (file.repo, file.path, file.branches)));
            after = list.next;
            if after.is_none() {
                return found;
            }
        }
    }
}

#[tokio::test]
async fn the_quarantine_has_every_branch_and_needs_nobody_who_asks() {
    let ground = ground(Scanner::default()).await;
    let (repo, first) =
        ground.repo("m", &[("model.pkl", POISON), ("b/other.pkl", POISON), ("config.json", b"{}")]).await;
    ground.repo("n", &[("model.pkl", POISON)]).await;
    let old = NewBranch { starting_point: Some(first.oid.to_string()), ..NewBranch::default() };
    ground.hub.create_branch(&ground.ada, &repo, "old", old).await.unwrap();
    assert!(ground.quarantine(9).await.is_empty(), "what waits is not in quarantine");
    ground.hub.work_off().await.unwrap();
    let on = |repo: &str, path: &str, branches: &[&str]| {
        (repo.to_owned(), path.to_owned(), branches.iter().map(|branch| (*branch).to_owned()).collect::<Vec<_>>())
    };
    let all = [
        on("ada/m", "b/other.pkl", &["main", "old"]),
        on("ada/m", "model.pkl", &["main", "old"]),
        on("ada/n", "model.pkl", &["main"]),
    ];
    for part in [1, 2, 100] {
        assert_eq!(ground.quarantine(part).await, all, "{part}");
    }
    // Gone from one branch, and from all.
    ground.commit(&repo, &[("model.pkl", b"{}")]).await;
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.quarantine(9).await[1], on("ada/m", "model.pkl", &["old"]));
    ground.hub.delete_branch(&ground.ada, &repo, "old").await.unwrap();
    assert_eq!(ground.quarantine(9).await[1], on("ada/n", "model.pkl", &["main"]));
    // Of one account only.
    assert!(ground.hub.quarantined(Some("nobody"), None, 9).await.unwrap().files.is_empty());
    for wrong in ["x", "model ada/m 00 p", "planet ada/m "] {
        let error = ground.hub.quarantined(None, Some(wrong), 9).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Malformed, "{wrong}");
    }
}

#[tokio::test]
async fn the_quarantine_is_what_the_policies_make_of_verdicts() {
    use weighthouse_trust::policy::DEFAULTS;

    use crate::policies::{Level, NewOverride};

    let ground = ground(Scanner::default()).await;
    let root = tests::root(&ground.hub).await;
    // Caution: its configuration asks for code of the repository.
    let config: &[u8] = br#"{"auto_map": {"AutoModel": "code.Model"}}"#;
    let (repo, _) = ground.repo("m", &[("model.pkl", POISON), ("config.json", config)]).await;
    ground.hub.work_off().await.unwrap();
    let list = ground.hub.quarantined(None, None, 9).await.unwrap();
    let [file] = list.files.as_slice() else { panic!("{list:?}") };
    assert_eq!((file.path.as_str(), file.verdict, file.released), ("model.pkl", Verdict::Unsafe, false));
    assert!(file.worst.contains("os.system") && file.reasons[0].policy == "unsafe-is-quarantined", "{file:?}");

    // Released, it stays on the list, and says by whom and why.
    let new = NewOverride {
        path: "model.pkl".to_owned(),
        digest: file.digest.clone(),
        reason: "ours".to_owned(),
        lifetime_ms: None,
    };
    let made = ground.hub.override_verdict(&root, &repo, new).await.unwrap();
    let file = ground.hub.quarantined(None, None, 9).await.unwrap().files.remove(0);
    assert!(file.released && file.overrides == [made.clone()], "{file:?}");
    ground.hub.end_override(&root, &made.id).await.unwrap();
    let file = ground.hub.quarantined(None, None, 9).await.unwrap().files.remove(0);
    assert!(!file.released && file.overrides.is_empty());

    // A policy that would refuse the file whatever its verdict is no quarantine; one about the verdict is.
    let rule = |when: &str| {
        format!(
            "{DEFAULTS}\n@id(\"own\") @reason(\"r\") forbid (principal, action == Action::\"download\", resource) when {{ {when} }};"
        )
    };
    let paths = async || {
        let list = ground.hub.quarantined(None, None, 9).await.unwrap();
        list.files.into_iter().map(|file| file.path).collect::<Vec<_>>()
    };
    let text = rule("context.remote_code && !context.overridden");
    ground.hub.save_policies(&root, &Level::Hub, &text, 0, "").await.unwrap();
    assert_eq!(paths().await, ["model.pkl"]);
    let text = rule("context.verdict == Verdict::\"caution\"");
    ground.hub.save_policies(&root, &Level::Hub, &text, 1, "").await.unwrap();
    assert_eq!(paths().await, ["config.json", "model.pkl"]);
}
