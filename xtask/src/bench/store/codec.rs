//! What tensors take when they are coded, and how fast that is.
//!
//! The arrays are a trained MiniLM, fine-tuned here for 40 and 160 steps of AdamW, in three types, and its optimizer
//! state. Ours and zstd run in one process in turns; zipnn runs on the same files right after, each on one core.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{environments, shell};

const SCRIPT: &str = include_str!("codec.py");
const RUNS: &str = "5";

/// Name, file and base of each case.
const CASES: [[&str; 3]; 14] = [
    ["bf16", "minilm-0-bf16", "-"],
    ["fp16", "minilm-0-f16", "-"],
    ["fp32", "minilm-0-f32", "-"],
    ["bf16-40-steps", "minilm-40-bf16", "minilm-0-bf16"],
    ["bf16-160-steps", "minilm-160-bf16", "minilm-0-bf16"],
    ["fp16-160-steps", "minilm-160-f16", "minilm-0-f16"],
    ["fp32-40-steps", "minilm-40-f32", "minilm-0-f32"],
    ["fp32-160-steps", "minilm-160-f32", "minilm-0-f32"],
    ["bf16-of-fp32", "minilm-160-bf16", "minilm-160-f32"],
    ["fp32-on-bf16", "minilm-160-f32", "minilm-160-bf16"],
    ["fp16-on-bf16", "minilm-0-f16", "minilm-0-bf16"],
    ["moment-1", "minilm-160-exp_avg", "minilm-160-exp_avg_sq"],
    ["moment-2", "minilm-160-exp_avg_sq", "-"],
    ["moment-2-step", "minilm-160-exp_avg_sq", "minilm-40-exp_avg_sq"],
];

/// Stored bytes and rates in megabytes per second, as the test of the store prints them.
#[derive(Deserialize)]
struct Case {
    case: String,
    raw: f64,
    fast: f64,
    fast_encode: f64,
    fast_decode: f64,
    cold: f64,
    cold_decode: f64,
    order0: f64,
    xor: f64,
    zstd_encode: f64,
    zstd_decode: f64,
}

/// Measures and prints the table of the codec.
///
/// # Errors
/// When something cannot be installed, built or measured.
pub fn codec(models: &Path) -> Result<()> {
    let peers = environments::codecs()?;
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    let python = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(models);
        command.args(["-c", SCRIPT]).args(arguments).env("PYTHONPATH", &peers).env("HF_HUB_OFFLINE", "1");
        shell::read(&mut command)
    };
    python(&["make", folder.path().to_str().context("a path that is not UTF-8")?])?;
    let file = |name: &str| if name == "-" { name.to_owned() } else { format!("{name}.safetensors") };
    let cases: String = CASES.iter().map(|[name, of, base]| format!("{name} {} {}\n", file(of), file(base))).collect();
    fs::write(folder.path().join("CASES.txt"), cases)?;
    let ours = measured(folder.path())?;
    let mut zipnn = BTreeMap::new();
    for ([name, of, _], dtype) in CASES.iter().zip(["bfloat16", "float16", "float32"]) {
        let path = folder.path().join(file(of));
        let said = python(&["zipnn", path.to_str().context("a path that is not UTF-8")?, dtype, RUNS])?;
        let figures: Vec<f64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [raw, stored, encode_s, decode_s] = figures[..] else { anyhow::bail!("zipnn said {said}") };
        zipnn.insert(*name, [stored, raw / encode_s / 1e6, raw / decode_s / 1e6]);
    }
    print(&ours, &zipnn);
    Ok(())
}

/// Runs the test of the store that measures, in release.
fn measured(folder: &Path) -> Result<Vec<Case>> {
    let flags = ["test", "--release", "--quiet", "--package", "weighthouse-store", "--test", "codec"];
    let mut test = shell::command("cargo", &flags);
    test.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
    let said = shell::read(test.env("WH_CODEC_FOLDER", folder).env("WH_CODEC_RUNS", RUNS))?;
    // The harness writes a dot without a new line before what the test prints.
    let lines = said.lines().filter_map(|line| line.find('{').map(|at| &line[at..]));
    lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn print(cases: &[Case], zipnn: &BTreeMap<&str, [f64; 3]>) {
    shell::say(&format!(
        "\n{:<16}{:>8}{:>8}{:>9}{:>9}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>10}",
        "one core",
        "fast %",
        "cold %",
        "order0 %",
        "/ zipnn",
        "/ xor",
        "enc MB/s",
        "dec MB/s",
        "/ zstd-1",
        "/ zstd-d",
        "/ zipnn",
        "/ zipnn",
        "cold dec"
    ));
    for case in cases {
        let percent = |bytes: f64| format!("{:.2}", bytes / case.raw * 100.0);
        let peer = zipnn.get(case.case.as_str());
        let beside =
            |ours: f64, at: usize| peer.map_or_else(|| "-".to_owned(), |peer| format!("{:.3}", ours / peer[at]));
        // Of one tensor with another one of its own kind only.
        let xor = if case.xor > 0.0 && case.case.ends_with("steps") {
            format!("{:.3}", case.fast / case.xor)
        } else {
            "-".to_owned()
        };
        shell::say(&format!(
            "{:<16}{:>8}{:>8}{:>9}{:>9}{xor:>9}{:>10.0}{:>10.0}{:>9.2}{:>9.2}{:>9}{:>9}{:>10.0}",
            case.case,
            percent(case.fast),
            percent(case.cold),
            percent(case.order0),
            beside(case.fast, 0),
            case.fast_encode,
            case.fast_decode,
            case.fast_encode / case.zstd_encode,
            case.fast_decode / case.zstd_decode,
            beside(case.fast_encode, 1),
            beside(case.fast_decode, 2),
            case.cold_decode,
        ));
    }
}
