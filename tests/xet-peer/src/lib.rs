//! The hub under test and the test server of the reference implementation, seen through the reference's own client.
//!
//! `WH_BIN` names the program under test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::Digest;
use tempfile::TempDir;
use xet_client::cas_client::auth::AuthConfig;
use xet_client::cas_client::{Client, LocalTestServerBuilder, RemoteClient};
use xet_core_structures::merklehash::MerkleHash;
use xet_data::processing::configurations::{SessionContext, TranslatorConfig};
use xet_data::processing::{
    DirtyInput, FileDownloadSession, FileUploadSession, Sha256Policy, XetFileInfo, upload_ranges,
};
use xet_runtime::core::XetContext;

/// A server, and the reference's client for it.
pub struct Side {
    /// The calls, one by one.
    pub client: Arc<dyn Client>,
    context: XetContext,
    session: SessionContext,
}

impl Side {
    /// The reference: everything over HTTP but the chunk windows, for which its server has no route.
    pub async fn reference() -> Result<Self> {
        let server = LocalTestServerBuilder::new().start().await;
        let context = XetContext::default()?;
        let session = session(server.http_endpoint().to_owned(), None);
        Ok(Self { client: Arc::new(server), context, session })
    }

    /// A repository of the hub.
    pub async fn hub(hub: &Hub, repo: &str) -> Result<Self> {
        let context = XetContext::default()?;
        let granted = hub.get(&format!("/api/models/admin/{repo}/xet-write-token/main")).await?;
        let text = |key: &str| granted[key].as_str().map(str::to_owned).context("the hub granted no token");
        let (endpoint, token) = (text("casUrl")?, text("accessToken")?);
        let session = session(endpoint, AuthConfig::maybe_new(Some(token), granted["exp"].as_u64(), None));
        let client = RemoteClient::new(context.clone(), &session.endpoint, &session.auth, "peer", false, None);
        Ok(Self { client, context, session })
    }

    /// A client with notes of its own in a new folder, so that it must ask the server what is known.
    fn fresh(&self) -> Result<(Arc<TranslatorConfig>, TempDir)> {
        let folder = tempfile::tempdir()?;
        let session = SessionContext { cache_root: Some(folder.path().to_owned()), ..self.session.clone() };
        Ok((Arc::new(TranslatorConfig::new(&self.context, session)?), folder))
    }

    /// Uploads a file. Returns its hash and how many bytes of it the server lacked.
    pub async fn upload(&self, data: &[u8]) -> Result<(MerkleHash, u64)> {
        let (config, _notes) = self.fresh()?;
        let session = FileUploadSession::new(config).await?;
        let size = Some(data.len() as u64);
        let (_, mut cleaner) = session.start_clean(Some("file".into()), size, Sha256Policy::Compute)?;
        cleaner.add_data(data).await?;
        let (info, _) = cleaner.finish().await?;
        let sent = session.finalize().await?;
        Ok((MerkleHash::from_hex(info.hash())?, sent.new_bytes))
    }

    /// Replaces parts of an uploaded file. Returns the hash of the new one.
    pub async fn edit(&self, file: MerkleHash, size: u64, edits: &[Edit]) -> Result<MerkleHash> {
        let (config, _notes) = self.fresh()?;
        let inputs = edits.iter().map(Edit::input).collect();
        let info = upload_ranges(config, Arc::clone(&self.client), file, size, inputs).await?;
        Ok(MerkleHash::from_hex(info.hash())?)
    }

    /// Downloads a file.
    pub async fn download(&self, file: &MerkleHash, size: u64) -> Result<Vec<u8>> {
        let (config, notes) = self.fresh()?;
        let session = FileDownloadSession::new(config, None).await?;
        let to = notes.path().join("file");
        session.download_file(&XetFileInfo::new(file.hex(), size), &to).await?;
        Ok(std::fs::read(to)?)
    }
}

fn session(endpoint: String, auth: Option<AuthConfig>) -> SessionContext {
    let (custom_headers, session_id, cache_root) = (None, None, None);
    SessionContext { endpoint, auth, custom_headers, repo_paths: vec![String::new()], session_id, cache_root }
}

/// New bytes in place of a part of a file.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The part, in the old file.
    pub range: std::ops::Range<usize>,
    /// What comes there.
    pub bytes: Vec<u8>,
}

impl Edit {
    fn input(&self) -> DirtyInput {
        DirtyInput {
            original_range: self.range.start as u64..self.range.end as u64,
            new_length: self.bytes.len() as u64,
            reader: Box::pin(std::io::Cursor::new(self.bytes.clone())),
        }
    }

    /// What edits, in order, make of a file.
    pub fn apply(edits: &[Self], data: &[u8]) -> Vec<u8> {
        let mut made = Vec::new();
        let mut position = 0;
        for edit in edits {
            made.extend_from_slice(&data[position..edit.range.start]);
            made.extend_from_slice(&edit.bytes);
            position = edit.range.end;
        }
        made.extend_from_slice(&data[position..]);
        made
    }
}

/// `wh serve` over a temporary folder.
pub struct Hub {
    process: Child,
    base: String,
    token: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Hub {
    /// Starts it and waits until it answers.
    pub async fn start() -> Result<Self> {
        let program = std::env::var_os("WH_BIN").context("WH_BIN must name the program under test")?;
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(&data);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let (base, http) = (format!("http://127.0.0.1:{port}"), reqwest::Client::new());
        let mut hub = Self { process, base, token: String::new(), http, _folder: folder };
        let began = Instant::now();
        while hub.http.get(format!("{}/readyz", hub.base)).send().await.is_err() {
            ensure!(hub.process.try_wait()?.is_none(), "the hub ended");
            ensure!(began.elapsed() < Duration::from_secs(60), "the hub does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        hub.token = read_token(&data)?;
        Ok(hub)
    }

    /// Makes `admin/{name}`.
    pub async fn create(&self, name: &str) -> Result<()> {
        let body = json!({ "name": name }).to_string();
        let made = self.http.post(format!("{}/api/repos/create", self.base)).bearer_auth(&self.token).body(body);
        made.send().await?.error_for_status()?;
        Ok(())
    }

    /// Commits an uploaded file to `admin/{repo}` by its SHA-256, and reads it back over plain HTTP.
    pub async fn commit_and_read(&self, repo: &str, data: &[u8]) -> Result<Vec<u8>> {
        let digest: String = sha2::Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
        let head = json!({ "key": "header", "value": { "summary": "test", "description": "" } });
        let value = json!({ "path": &digest, "algo": "sha256", "oid": &digest, "size": data.len() });
        let file = json!({ "key": "lfsFile", "value": value });
        let commit = self.http.post(format!("{}/api/models/admin/{repo}/commit/main", self.base));
        commit.bearer_auth(&self.token).body(format!("{head}\n{file}\n")).send().await?.error_for_status()?;
        let read = self.http.get(format!("{}/admin/{repo}/resolve/main/{digest}", self.base));
        Ok(read.bearer_auth(&self.token).send().await?.error_for_status()?.bytes().await?.to_vec())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let asked = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        Ok(asked.send().await?.error_for_status()?.json().await?)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_token(data: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(data.join("admin-token"))?.trim().to_owned())
}

/// Bytes that do not compress and never repeat, from a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
