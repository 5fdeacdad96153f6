//! How to use a repository with each client, in lines to copy.

use weighthouse::RepoKind;
use weighthouse::facts::Facts;

/// Lines for one client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// Name of the client.
    pub client: &'static str,
    /// What to type.
    pub code: String,
}

/// What the lines depend on.
pub(super) struct Subject<'a> {
    pub kind: RepoKind,
    pub id: &'a str,
    pub private: bool,
    pub facts: &'a Facts,
    /// Address of this hub.
    pub base: &'a str,
    /// Address of the repository's page.
    pub page: &'a str,
    /// A file to fetch on its own.
    pub file: Option<&'a str>,
}

/// The clients that fit, the most specific first.
pub(super) fn usages(subject: &Subject<'_>) -> Vec<Usage> {
    let Subject { kind, id, facts, base, page, .. } = *subject;
    let export = format!("export HF_ENDPOINT={base}\n");
    let mut found = Vec::new();
    let mut add = |client, code: String| found.push(Usage { client, code });
    let name = id.rsplit('/').next().unwrap_or(id);
    let data = if kind == RepoKind::Dataset { " --repo-type dataset" } else { "" };
    if kind == RepoKind::Dataset {
        add(
            "datasets",
            format!("# {}\nfrom datasets import load_dataset\n\ndata = load_dataset(\"{id}\")", export.trim_end()),
        );
    } else if let Some((client, lines)) = library(facts, id) {
        add(client, format!("# {}\n{lines}", export.trim_end()));
    }
    add("hf", format!("{export}hf download {id}{data}"));
    let repo_type = if kind == RepoKind::Dataset { ", repo_type=\"dataset\"" } else { "" };
    add(
        "huggingface_hub",
        format!(
            "from huggingface_hub import snapshot_download\n\nsnapshot_download(\"{id}\"{repo_type}, endpoint=\"{base}\")"
        ),
    );
    if kind == RepoKind::Model {
        if facts.has_format("gguf") {
            add("llama.cpp", format!("{export}llama-server -hf {id}"));
        }
        let generates = matches!(facts.pipeline_tag.as_deref(), Some("text-generation" | "image-text-to-text"));
        if generates && facts.library_name.as_deref() == Some("transformers") {
            add("vLLM", format!("{export}vllm serve {id}"));
        }
        add("wh", format!("{export}wh pull {id} {name}"));
    }
    if let Some(file) = subject.file {
        let token = if subject.private { " -H \"Authorization: Bearer $HF_TOKEN\"" } else { "" };
        let path = super::address::encode_path(file);
        add("curl", format!("curl -L{token} -O {base}{page}/resolve/main/{path}"));
    }
    found
}

/// Lines for the library that a model says it is for.
fn library(facts: &Facts, id: &str) -> Option<(&'static str, String)> {
    Some(match facts.library_name.as_deref()? {
        "transformers" => ("transformers", transformers(facts, id)),
        "sentence-transformers" => (
            "sentence-transformers",
            format!(
                "from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer(\"{id}\")\n\
                 vectors = model.encode([\"a sentence\", \"another one\"])"
            ),
        ),
        "diffusers" => (
            "diffusers",
            format!(
                "from diffusers import DiffusionPipeline\n\npipeline = DiffusionPipeline.from_pretrained(\"{id}\")"
            ),
        ),
        "peft" => ("peft", peft(facts, id)),
        "timm" => ("timm", format!("import timm\n\nmodel = timm.create_model(\"hf-hub:{id}\", pretrained=True)")),
        "stable-baselines3" => (
            "stable-baselines3",
            format!("from huggingface_sb3 import load_from_hub\n\ncheckpoint = load_from_hub(\"{id}\", \"FILE.zip\")"),
        ),
        _ => return None,
    })
}

fn transformers(facts: &Facts, id: &str) -> String {
    let (model, processor) = match &facts.transformers {
        Some(found) => (found.auto_model.as_str(), found.processor.as_deref()),
        None => ("AutoModel", None),
    };
    // The names come from a file of the repository, and end up in code that people run.
    let model = Some(model).filter(|name| is_class(name)).unwrap_or("AutoModel");
    let processor = processor.filter(|name| is_class(name));
    let variable = if processor == Some("AutoTokenizer") { "tokenizer" } else { "processor" };
    let (imports, line) = match processor {
        Some(class) => (format!("{model}, {class}"), format!("{variable} = {class}.from_pretrained(name)\n")),
        None => (model.to_owned(), String::new()),
    };
    let custom = facts.transformers.as_ref().is_some_and(|found| found.custom_class.is_some());
    let trust = if custom { "\n# runs code of this repository: read it first\n" } else { "\n" };
    let option = if custom { ", trust_remote_code=True" } else { "" };
    format!(
        "from transformers import {imports}\n{trust}name = \"{id}\"\n{line}model = {model}.from_pretrained(name{option})"
    )
}

fn peft(facts: &Facts, id: &str) -> String {
    let base = facts.base_models.first().filter(|base| weighthouse::names::check_repo_id(base).is_ok());
    match base {
        Some(base) => format!(
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n\
             base = AutoModelForCausalLM.from_pretrained(\"{base}\")\nmodel = PeftModel.from_pretrained(base, \"{id}\")"
        ),
        None => format!("from peft import AutoPeftModel\n\nmodel = AutoPeftModel.from_pretrained(\"{id}\")"),
    }
}

fn is_class(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
