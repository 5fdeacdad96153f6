//! One function for each row of the matrix that hf-hub has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hf_hub::repository::{AddSource, CommitOperation, RepoTreeEntry};
use hf_hub::{HFClientSync, HFError, HFRepositorySync, RepoTypeModel, split_id};

const GGUF: &str = "weights/tiny-Q4_0.gguf";
const LARGE_BYTES: usize = 32 << 20;
const INSERTED: &[u8] = b"eighteen new bytes";

type Model = HFRepositorySync<RepoTypeModel>;

/// The client, and what the environment says about the repositories.
pub struct Driver {
    client: HFClientSync,
    user: String,
    repo: String,
    private: String,
    work: PathBuf,
    seed: Model,
    seed_files: PathBuf,
    seed_commit: String,
    large: Vec<u8>,
}

impl Driver {
    /// A client that knows nothing but `HF_ENDPOINT` and `HF_TOKEN`.
    pub fn from_env() -> Result<Self> {
        let get = |name: &str| std::env::var(name).with_context(|| name.to_owned());
        let client = HFClientSync::new()?;
        let seed = model(&client, &get("WH_TEST_SEED")?);
        Ok(Self {
            user: get("WH_TEST_USER")?,
            repo: get("WH_TEST_REPO")?,
            private: get("WH_TEST_PRIVATE")?,
            work: get("WH_TEST_WORK")?.into(),
            seed_files: get("WH_TEST_SEED_FILES")?.into(),
            seed_commit: get("WH_TEST_SEED_COMMIT")?,
            large: noise(LARGE_BYTES),
            seed,
            client,
        })
    }

    /// Runs the operation with this name, if there is one.
    pub fn carry_out(&self, operation: &str) -> Option<Result<()>> {
        Some(match operation {
            "whoami" => self.whoami(),
            "model info" => self.model_info(),
            "file exists" => self.file_exists(),
            "download file" => self.download_file(),
            "download revision" => self.download_revision(),
            "download snapshot" => self.download_snapshot(),
            "read range" => self.read_range(),
            "list files" => self.list_files(),
            "paths info" => self.paths_info(),
            "list refs" => self.list_refs(),
            "list commits" => self.list_commits(),
            "search models" => self.search_models(),
            "missing things" => self.missing_things(),
            "private of another" => self.private_of_another(),
            "create repository" => self.create_repository(),
            "upload file" => self.upload_file(),
            "upload folder" => self.upload_folder(),
            "upload large file" => self.upload_large_file(),
            "upload with 18 bytes inserted" => self.upload_edited(),
            "upload identical file elsewhere" => self.upload_elsewhere(),
            "download large files" => self.download_large_files(),
            "stale parent commit" => self.stale_parent_commit(),
            "branches" => self.branches(),
            "tags" => self.tags(),
            "private repository" => self.private_repository(),
            "move repository" => self.move_repository(),
            "delete repository" => self.delete_repository(),
            _ => return None,
        })
    }

    fn mine(&self) -> Model {
        model(&self.client, &self.repo)
    }

    fn named(&self, suffix: &str) -> (String, Model) {
        let id = format!("{}-{suffix}", self.repo);
        let model = model(&self.client, &id);
        (id, model)
    }

    fn seed_file(&self, path: &str) -> Result<Vec<u8>> {
        std::fs::read(self.seed_files.join(path)).with_context(|| path.to_owned())
    }

    fn edited(&self) -> Vec<u8> {
        let (front, back) = self.large.split_at(LARGE_BYTES / 2);
        [front, INSERTED, back].concat()
    }

    fn whoami(&self) -> Result<()> {
        let user = self.client.whoami().send()?;
        ensure!(user.username == self.user, "{}", user.username);
        Ok(())
    }

    fn model_info(&self) -> Result<()> {
        let info = self.seed.info().send()?;
        ensure!(info.sha.as_deref() == Some(self.seed_commit.as_str()), "{:?}", info.sha);
        let siblings = info.siblings.unwrap_or_default();
        ensure!(siblings.iter().any(|sibling| sibling.rfilename == GGUF), "{siblings:?}");
        Ok(())
    }

    fn file_exists(&self) -> Result<()> {
        ensure!(self.seed.file_exists().filename("config.json").send()?);
        ensure!(!self.seed.file_exists().filename("absent.json").send()?);
        ensure!(self.seed.revision_exists().revision("v1.0").send()?);
        ensure!(!self.seed.revision_exists().revision("absent").send()?);
        ensure!(self.seed.exists().send()?);
        ensure!(!model(&self.client, &format!("{}/absent", self.user)).exists().send()?);
        Ok(())
    }

    fn download_file(&self) -> Result<()> {
        for path in ["config.json", "data/nested/deep name.txt", "data/empty.txt", GGUF] {
            let cached = self.seed.download_file().filename(path).send()?;
            ensure!(std::fs::read(cached)? == self.seed_file(path)?, "{path}");
        }
        Ok(())
    }

    fn download_revision(&self) -> Result<()> {
        for revision in ["v1.0", "feat/x", &self.seed_commit] {
            let bytes = self.seed.download_file_to_bytes().filename("config.json").revision(revision).send()?;
            ensure!(bytes == self.seed_file("config.json")?, "{revision}");
        }
        Ok(())
    }

    fn download_snapshot(&self) -> Result<()> {
        let folder = self.seed.snapshot_download().send()?;
        same_files(&folder, &self.seed_files)
    }

    fn read_range(&self) -> Result<()> {
        let range = 1_000_000..1_001_000;
        let piece = self.seed.download_file_to_bytes().filename(GGUF).range(range).send()?;
        ensure!(piece == self.seed_file(GGUF)?[1_000_000..1_001_000]);
        Ok(())
    }

    fn list_files(&self) -> Result<()> {
        let entries = self.seed.list_tree().recursive(true).expand(true).send()?;
        let found = entries.iter().find_map(|entry| match entry {
            RepoTreeEntry::File { path, size, lfs, .. } if path == GGUF => Some((*size, lfs.is_some())),
            _ => None,
        });
        ensure!(found == Some((self.seed_file(GGUF)?.len() as u64, true)), "{found:?}");
        let nested =
            |entry: &RepoTreeEntry| matches!(entry, RepoTreeEntry::Directory { path, .. } if path == "data/nested");
        ensure!(entries.iter().any(nested));
        Ok(())
    }

    fn paths_info(&self) -> Result<()> {
        let paths = ["config.json", "data", "absent"].map(str::to_owned).to_vec();
        let found = self.seed.get_paths_info().paths(paths).send()?;
        ensure!(found.len() == 2, "{found:?}");
        Ok(())
    }

    fn list_refs(&self) -> Result<()> {
        let refs = self.seed.list_refs().send()?;
        for branch in ["main", "feat/x"] {
            ensure!(refs.branches.iter().any(|found| found.name == branch), "{branch}");
        }
        ensure!(refs.tags.len() == 1 && refs.tags[0].target_commit == self.seed_commit, "{:?}", refs.tags);
        Ok(())
    }

    fn list_commits(&self) -> Result<()> {
        let commits = self.seed.list_commits().send()?;
        ensure!(commits.first().is_some_and(|head| head.id == self.seed_commit), "{commits:?}");
        ensure!(commits.last().is_some_and(|first| first.title == "initial commit"), "{commits:?}");
        Ok(())
    }

    fn search_models(&self) -> Result<()> {
        let found = [
            self.client.list_models().search("seed").send()?,
            self.client.list_models().author(&self.user).send()?,
            self.client.list_models().filter("license:apache-2.0").send()?,
        ];
        let seed = self.seed.repo_path();
        for models in found {
            ensure!(models.iter().any(|model| model.id == seed));
            ensure!(models.iter().all(|model| model.id != self.private));
        }
        Ok(())
    }

    fn missing_things(&self) -> Result<()> {
        let absent = model(&self.client, &format!("{}/absent", self.user));
        let repo = absent.info().send();
        ensure!(matches!(repo, Err(HFError::RepoNotFound { .. })), "{repo:?}");
        let revision = self.seed.download_file().filename("config.json").revision("absent").send();
        // In a download this client calls every 404 so, whatever the hub says.
        ensure!(matches!(revision, Err(HFError::EntryNotFound { .. })), "{revision:?}");
        let info = self.seed.info().revision("absent").send();
        ensure!(matches!(info, Err(HFError::RevisionNotFound { .. })), "{info:?}");
        let entry = self.seed.download_file().filename("absent.json").send();
        ensure!(matches!(entry, Err(HFError::EntryNotFound { .. })), "{entry:?}");
        Ok(())
    }

    fn private_of_another(&self) -> Result<()> {
        let info = model(&self.client, &self.private).info().send();
        ensure!(matches!(info, Err(HFError::RepoNotFound { .. })), "{info:?}");
        Ok(())
    }

    fn create(&self, id: &str, private: bool, exist_ok: bool) -> hf_hub::HFResult<()> {
        let request = self.client.create_repository().repo_id(id).repo_type(RepoTypeModel);
        request.private(private).exist_ok(exist_ok).send().map(drop)
    }

    fn create_repository(&self) -> Result<()> {
        self.create(&self.repo, false, false)?;
        self.create(&self.repo, false, true)?;
        let again = self.create(&self.repo, false, false);
        ensure!(matches!(again, Err(HFError::Conflict { .. })), "{again:?}");
        Ok(())
    }

    fn upload_file(&self) -> Result<()> {
        let commit = upload(&self.mine(), "notes/a.txt", b"a line\n")?;
        let head = self.mine().list_commits().limit(1).send()?;
        ensure!(commit == head.first().map(|head| head.id.clone()), "{head:?}");
        ensure!(fetch(&self.mine(), "notes/a.txt")? == b"a line\n");
        Ok(())
    }

    fn upload_folder(&self) -> Result<()> {
        self.mine().upload_folder().folder_path(&self.seed_files).path_in_repo("copy").send()?;
        let target = self.work.join("uploaded");
        self.mine().snapshot_download().allow_patterns(vec!["copy/**".to_owned()]).local_dir(target.clone()).send()?;
        same_files(&target.join("copy"), &self.seed_files)
    }

    fn upload_large_file(&self) -> Result<()> {
        upload(&self.mine(), "large.bin", &self.large)?;
        ensure!(fetch(&self.mine(), "large.bin")? == self.large);
        Ok(())
    }

    fn upload_edited(&self) -> Result<()> {
        upload(&self.mine(), "large.bin", &self.edited()).map(drop)
    }

    fn upload_elsewhere(&self) -> Result<()> {
        let (id, elsewhere) = self.named("elsewhere");
        self.create(&id, false, false)?;
        upload(&elsewhere, "other.bin", &self.large).map(drop)
    }

    fn download_large_files(&self) -> Result<()> {
        ensure!(fetch(&self.named("elsewhere").1, "other.bin")? == self.large);
        ensure!(fetch(&self.mine(), "large.bin")? == self.edited());
        Ok(())
    }

    fn stale_parent_commit(&self) -> Result<()> {
        let commits = self.mine().list_commits().send()?;
        let oldest = &commits.last().context("no commits")?.id;
        let operations = vec![CommitOperation::add_bytes("late.txt", "late")];
        let mine = self.mine();
        let request = mine.create_commit().operations(operations).commit_message("Late").parent_commit(oldest).send();
        ensure!(request.is_err(), "{request:?}");
        ensure!(!mine.file_exists().filename("late.txt").send()?);
        Ok(())
    }

    fn branches(&self) -> Result<()> {
        let mine = self.mine();
        mine.create_branch().branch("side/way").send()?;
        let source = AddSource::bytes("aside");
        mine.upload_file().source(source).path_in_repo("side.txt").revision("side/way").send()?;
        let aside = mine.download_file_to_bytes().filename("side.txt").revision("side/way").send()?;
        ensure!(aside == "aside");
        ensure!(!mine.file_exists().filename("side.txt").send()?);
        mine.delete_branch().branch("side/way").send()?;
        ensure!(!mine.revision_exists().revision("side/way").send()?);
        Ok(())
    }

    fn tags(&self) -> Result<()> {
        let mine = self.mine();
        mine.create_tag().tag("v0.1").message("First").send()?;
        ensure!(mine.revision_exists().revision("v0.1").send()?);
        mine.delete_tag().tag("v0.1").send()?;
        ensure!(!mine.revision_exists().revision("v0.1").send()?);
        Ok(())
    }

    fn private_repository(&self) -> Result<()> {
        let (id, private) = self.named("private");
        self.create(&id, true, false)?;
        upload(&private, "mine.txt", b"mine")?;
        ensure!(fetch(&private, "mine.txt")? == b"mine");
        private.update_settings().private(false).send()?;
        Ok(())
    }

    fn move_repository(&self) -> Result<()> {
        let (from, old) = self.named("private");
        let (to, new) = self.named("moved");
        self.client.move_repository().from_id(&from).to_id(&to).repo_type(RepoTypeModel).send()?;
        ensure!(fetch(&new, "mine.txt")? == b"mine");
        ensure!(fetch(&old, "mine.txt")? == b"mine");
        Ok(())
    }

    fn delete_repository(&self) -> Result<()> {
        self.client.delete_repository().repo_id(&self.repo).repo_type(RepoTypeModel).send()?;
        ensure!(!self.mine().exists().send()?);
        ensure!(fetch(&self.named("elsewhere").1, "other.bin")? == self.large);
        Ok(())
    }
}

fn model(client: &HFClientSync, id: &str) -> Model {
    let (owner, name) = split_id(id);
    client.model(owner, name)
}

/// Uploads one file and returns the commit.
fn upload(model: &Model, path: &str, content: &[u8]) -> Result<Option<String>> {
    let source = AddSource::bytes(content.to_vec());
    Ok(model.upload_file().source(source).path_in_repo(path).send()?.commit_oid)
}

fn fetch(model: &Model, path: &str) -> Result<Vec<u8>> {
    Ok(model.download_file_to_bytes().filename(path).send()?.to_vec())
}

/// Compares each file of `wanted`, byte for byte.
fn same_files(found: &Path, wanted: &Path) -> Result<()> {
    for entry in std::fs::read_dir(wanted)? {
        let entry = entry?;
        let other = found.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            same_files(&other, &entry.path())?;
        } else {
            ensure!(std::fs::read(&other)? == std::fs::read(entry.path())?, "{}", other.display());
        }
    }
    Ok(())
}

/// Bytes that no compressor shortens and no other client uploads (SplitMix64, seeded by the process id).
fn noise(len: usize) -> Vec<u8> {
    let mut state = u64::from(std::process::id());
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}
