//! Reading the few files that facts come from, each within a bound.

use serde_json::{Map, Value};
use weighthouse_format::Limits;
use weighthouse_format::safetensors::{Header, header_len};

use super::Parameters;
use super::names::{ADAPTER, CONFIG, DIFFUSERS, Names, TOKENIZER_CONFIG};
use crate::browse::{FileRecord, PathRecord};
use crate::card::CARD_PATH;
use crate::revision::{MAIN, Revision};
use crate::{Error, Hub};

/// Longest card that is read, in bytes.
const MAX_CARD_BYTES: u64 = 4 << 20;
/// Longest JSON file that is read, in bytes.
const MAX_JSON_BYTES: u64 = 2 << 20;
/// Files whose headers are read; the largest public models have fewer.
const MAX_SHARDS: usize = 1_024;
/// First piece of a header, in bytes; most headers are shorter.
const FIRST_READ_BYTES: u64 = 64 << 10;
/// All headers of a model, in bytes.
const MAX_HEADERS_BYTES: u64 = 96 << 20;
/// The header of one file that is to be shown, in bytes.
const MAX_ONE_HEADER_BYTES: u64 = 16 << 20;
/// Names of a model's one file of weights, best first.
const SINGLE: &[&str] = &["model", "diffusion_pytorch_model", "pytorch_model", "adapter_model"];

/// What was read. A file that is missing, too long or not what its name says is `None`.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub card: Option<String>,
    pub config: Option<Map<String, Value>>,
    pub tokenizer: Option<Map<String, Value>>,
    pub adapter: Option<Map<String, Value>>,
    pub parameters: Option<Parameters>,
}

impl Hub {
    pub(super) async fn read_sources(&self, revision: &Revision, names: &Names) -> Result<Sources, Error> {
        let card = self.read_named(revision, names, CARD_PATH, MAX_CARD_BYTES).await?;
        Ok(Sources {
            card: card.map(|data| String::from_utf8_lossy(&data).into_owned()),
            config: self.read_json(revision, names, CONFIG).await?,
            tokenizer: self.read_json(revision, names, TOKENIZER_CONFIG).await?,
            adapter: self.read_json(revision, names, ADAPTER).await?,
            parameters: self.count_parameters(revision, names).await?,
        })
    }

    async fn read_named(
        &self,
        revision: &Revision,
        names: &Names,
        name: &str,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        if !names.has(name) {
            return Ok(None);
        }
        let file = self.file(revision, MAIN, name).await?;
        self.read_small(&file, limit_bytes).await
    }

    async fn read_json(
        &self,
        revision: &Revision,
        names: &Names,
        name: &str,
    ) -> Result<Option<Map<String, Value>>, Error> {
        let data = self.read_named(revision, names, name, MAX_JSON_BYTES).await?;
        Ok(data.and_then(|data| serde_json::from_slice(&data).ok()))
    }

    /// Sums up the parameters of the files that make up the model; `None` when a header is broken or too long.
    async fn count_parameters(&self, revision: &Revision, names: &Names) -> Result<Option<Parameters>, Error> {
        let paths: Vec<&str> = names.weights.iter().map(|(path, _)| path.as_str()).collect();
        let chosen = choose(&paths, names.has(DIFFUSERS));
        if chosen.is_empty() || chosen.len() > MAX_SHARDS {
            return Ok(None);
        }
        let sharded = chosen.len() > 1;
        let mut sum = Parameters { sharded, ..Parameters::default() };
        let mut left_bytes = MAX_HEADERS_BYTES;
        for record in self.paths(revision, &chosen).await? {
            let PathRecord::File(file) = record else { continue };
            let Some(header) = self.read_header(&file, &mut left_bytes).await? else { return Ok(None) };
            let count = header.parameters();
            for (dtype, elements) in count.by_dtype {
                let of_dtype = sum.by_dtype.entry(dtype.to_string()).or_default();
                *of_dtype = of_dtype.saturating_add(elements);
            }
            sum.total = sum.total.saturating_add(count.total);
        }
        Ok(Some(sum))
    }

    /// The header of a safetensors file; `None` when it is not one, or longer than 16 MiB.
    pub async fn safetensors_header(&self, file: &FileRecord) -> Result<Option<Header>, Error> {
        let mut left_bytes = MAX_ONE_HEADER_BYTES;
        self.read_header(file, &mut left_bytes).await
    }

    async fn read_header(&self, file: &FileRecord, left_bytes: &mut u64) -> Result<Option<Header>, Error> {
        let mut limits = Limits::default();
        limits.header_bytes = *left_bytes;
        limits.tensors = 1 << 18;
        let mut data = self.read_range(file, 0, FIRST_READ_BYTES.min(file.size_bytes)).await?;
        let Ok(needed) = header_len(&data, &limits) else { return Ok(None) };
        if needed > file.size_bytes {
            return Ok(None);
        }
        let have = data.len() as u64;
        if needed > have {
            data.extend(self.read_range(file, have, needed).await?);
        }
        *left_bytes = left_bytes.saturating_sub(needed);
        Ok(Header::parse(&data, file.size_bytes, &limits).ok())
    }

    async fn read_range(&self, file: &FileRecord, begin: u64, end: u64) -> Result<Vec<u8>, Error> {
        use futures::TryStreamExt;
        let mut stream = self.read(file, begin..end).await?;
        let mut data = Vec::new();
        while let Some(piece) = stream.try_next().await? {
            data.extend_from_slice(&piece);
        }
        Ok(data)
    }
}

/// The files that make up the model: those of the root; of a pipeline, those of each folder below it. Of several
/// variants in one folder the plain one counts.
fn choose(paths: &[&str], pipeline: bool) -> Vec<String> {
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    let mut folders: Vec<String> = paths.iter().map(|path| folder(path)).collect();
    folders.sort_unstable();
    folders.dedup();
    if folders.first().is_some_and(String::is_empty) {
        folders.truncate(1);
    } else if pipeline {
        folders.retain(|folder| !folder.contains('/'));
    } else {
        return Vec::new();
    }
    folders.iter().flat_map(|of| plain(paths.iter().copied().filter(|path| folder(path) == *of))).collect()
}

/// The plain model among the files of one folder: `model.safetensors`, else `model-00001-of-00002.safetensors` and so
/// on, else the like with other names, else the only file there is.
fn plain<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let stems: Vec<(&str, &str)> = paths
        .filter_map(|path| {
            let name = path.rsplit('/').next().unwrap_or(path);
            Some((path, name.strip_suffix(".safetensors")?))
        })
        .collect();
    let one = |wanted: &str| stems.iter().find(|(_, stem)| *stem == wanted);
    let shards = |wanted: Option<&str>| -> Vec<String> {
        let of_model = |stem: &str| {
            let (rest, count) = stem.rsplit_once("-of-")?;
            let (model, number) = rest.rsplit_once('-')?;
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            (digits(count) && digits(number)).then_some((model.to_owned(), count.to_owned()))
        };
        let first = stems.iter().filter_map(|(_, stem)| of_model(stem)).find(|(m, _)| wanted.is_none_or(|w| w == m));
        let same = |stem: &str| of_model(stem).is_some_and(|found| Some(found) == first);
        stems.iter().filter(|(_, stem)| same(stem)).map(|(path, _)| (*path).to_owned()).collect()
    };
    for name in SINGLE {
        if let Some((path, _)) = one(name) {
            return vec![(*path).to_owned()];
        }
        let found = shards(Some(name));
        if !found.is_empty() {
            return found;
        }
    }
    match stems.as_slice() {
        [(path, _)] => vec![(*path).to_owned()],
        _ => shards(None),
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn the_plain_model_counts_once() {
        let chosen = |paths: &[&str]| choose(paths, false);
        assert_eq!(chosen(&["model.fp16.safetensors", "model.safetensors"]), ["model.safetensors"]);
        assert_eq!(chosen(&["odd.safetensors"]), ["odd.safetensors"]);
        assert_eq!(chosen(&["a.safetensors", "b.safetensors"]), [""; 0]);
        assert_eq!(chosen(&["sub/model.safetensors"]), [""; 0]);
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(chosen(&[shards[0], shards[1], "consolidated.safetensors"]), shards);
        assert_eq!(chosen(&["x-1-of-2.safetensors", "x-2-of-2.safetensors"]).len(), 2);
    }

    #[test]
    fn a_pipeline_is_the_sum_of_its_folders() {
        let paths = [
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/old/model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        let wanted = ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"];
        assert_eq!(choose(&paths, true), wanted);
    }
}
