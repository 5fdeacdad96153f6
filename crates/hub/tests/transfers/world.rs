//! A hub, a user, and folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use weighthouse_hub::client::push::{PushOptions, Pushed, push};
use weighthouse_hub::client::{Api, ApiOptions, ClientError, Meter, Patience, RepoRef};
use weighthouse_testkit::{TestHub, noise};

pub struct World {
    pub hub: TestHub,
    pub api: Api,
    pub token: String,
    /// Cache folder of the client.
    pub cache: TempDir,
}

pub async fn world() -> World {
    let hub = TestHub::start().await;
    let token = hub.user("ada").await;
    let api = api(&hub.base, Some(&token));
    World { hub, api, token, cache: tempfile::tempdir().unwrap() }
}

pub fn api(base: &str, token: Option<&str>) -> Api {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ApiOptions::new(base);
    options.token = token.map(str::to_owned);
    options.patience = impatient();
    Api::new(options).unwrap()
}

/// Short waits: what is slow here is broken.
pub fn impatient() -> Patience {
    let mut patience = Patience::default();
    patience.first_delay = Duration::from_millis(5);
    patience.max_delay = Duration::from_millis(50);
    patience.stall = Duration::from_millis(1_500);
    patience
}

pub fn repo(id: &str) -> RepoRef {
    id.parse().unwrap()
}

impl World {
    pub fn options(&self) -> PushOptions {
        let mut options = PushOptions::default();
        options.create = Some(false);
        options.cache = Some(self.cache.path().to_owned());
        options
    }

    pub fn options_without_notes(&self) -> PushOptions {
        let mut options = self.options();
        options.cache = None;
        options
    }

    pub async fn push(&self, folder: &Path, id: &str) -> Result<Pushed, ClientError> {
        push(&self.api, folder, &repo(id), &self.options(), &Meter::new()).await
    }
}

/// A folder as a model comes: small text, odd names, large noise.
pub fn model(large_bytes: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "README.md", b"---\nlicense: apache-2.0\n---\n# Model\n");
    put(folder.path(), "config.json", b"{\"model_type\": \"bert\"}\n");
    put(folder.path(), "empty.txt", b"");
    put(folder.path(), "sub dir/\u{6a21}\u{578b} #1?.txt", "text with ü\n".as_bytes());
    put(folder.path(), "sub dir/deep/er/small.bin", &[0, 1, 2, 3, 255]);
    put(folder.path(), "model.safetensors", &noise(7, large_bytes));
    folder
}

pub fn put(root: &Path, path: &str, content: &[u8]) {
    let place = root.join(path);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, content).unwrap();
}

/// All files below a folder but our notes.
pub fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let place = entry.unwrap().path();
            let path = place.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.starts_with(".cache/weighthouse") {
                continue;
            }
            if place.is_dir() {
                folders.push(place);
            } else {
                found.insert(path, std::fs::read(place).unwrap());
            }
        }
    }
    found
}

/// What a pull of a pushed folder brings: the same, and the hub's own `.gitattributes`.
pub fn assert_same(pulled: &Path, pushed: &Path) {
    let mut pulled = contents(pulled);
    pulled.remove(".gitattributes");
    let pushed = contents(pushed);
    assert_eq!(pulled.keys().collect::<Vec<_>>(), pushed.keys().collect::<Vec<_>>());
    for (path, content) in pushed {
        assert!(pulled.get(&path) == Some(&content), "{path} differs");
    }
}
