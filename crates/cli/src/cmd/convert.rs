//! `wh convert`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use weighthouse::Error;
use weighthouse::convert::{self, Form, Options, Parts, Plan, Record, WeightType, check_destination, convert, plan};

use crate::exit::{Hinted, code_of};
use crate::place::Place;
use crate::progress::Bytes;
use crate::remote::RemoteFlags;
use crate::{ui, words};

/// Arguments of `wh convert`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh convert pytorch_model.bin model.safetensors
  wh convert ./my-model my-model.gguf --dtype q8_0
  wh convert ./checkpoint-1000 ./merged --dtype bf16   # from any number of ranks
  wh convert model.gguf ./hf-model --dtype f16
  wh convert sd.ckpt ./pipeline --naming diffusers
  wh convert hub:team/my-model@v1.0 model.npz --dry-run

The destination appears complete or not at all; a conversion that was stopped goes on
when the same command is run again. Beside the result lies a record, which
`wh verify` checks.")]
pub struct Convert {
    #[command(flatten)]
    remote: RemoteFlags,
    /// File, folder, or `hub:NAMESPACE/NAME[@REVISION][:PATH]`
    source: String,
    /// File or folder to write; the ending tells the format: .safetensors, .gguf, .pt, .pth, .bin, .ckpt, .npz, .npy, or
    /// a folder
    destination: PathBuf,
    /// Format to write: safetensors, gguf, torch, npz, npy, dcp, folder [default: by the destination's name]
    #[arg(long, value_name = "FORMAT")]
    to: Option<Form>,
    /// Names of the tensors to change to: hf, timm, torchvision, openai-whisper, stable-diffusion, diffusers, peft,
    /// kohya-lora, diffusers-lora, mlx, hf-memory [default: as they are]
    #[arg(long, value_name = "NAMING")]
    naming: Option<String>,
    /// Type of floating-point weights: f32, f16, bf16, f8_e4m3, …; for GGUF also q8_0, q4_0, q5_0, q4_k, q5_k, q6_k,
    /// q4_k_m, q5_k_m [default: as they are]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<WeightType>,
    /// Longest file of weights: 500MB, 5GB, 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_shard_size: Option<u64>,
    /// Parts to write: model, optimizer
    #[arg(long, value_name = "PARTS", default_value = "model")]
    parts: Parts,
    /// Ranks that a distributed checkpoint is written for
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    ranks: u32,
    /// Pre-tokenizer that a GGUF file states, where it cannot be told from the tokenizer
    #[arg(long, value_name = "NAME")]
    pre_tokenizer: Option<String>,
    /// Say what would be written, and how much memory and disk it takes; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    /// Print JSON: the record, schema weighthouse.convert/1; with --dry-run the plan, weighthouse.convert-plan/1
    #[arg(long)]
    json: bool,
}

impl Convert {
    /// Converts the source.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let place = Place::open(&self.source, &self.remote, quiet).await?;
        let options = self.options();
        let bar = Arc::new(Bytes::new(quiet || self.json, "converting"));
        let (shown, this) = (Arc::clone(&bar), Arc::new(self));
        let cli = Arc::clone(&this);
        let work = tokio::task::spawn_blocking(move || {
            let source = place.source();
            let to = options.to;
            let name = cli.destination.file_name().and_then(|name| name.to_str());
            if !cli.dry_run {
                check_destination(&cli.destination, to.is_folder(), cli.overwrite)?;
            }
            let plan = plan(&source, &options, name)?;
            if cli.dry_run {
                return Ok((plan, None));
            }
            let record =
                convert(&source, &plan, &cli.destination, cli.overwrite, &|bytes, total| shown.add(bytes, total))?;
            Ok((plan, Some(record)))
        });
        let interrupted = tokio::signal::ctrl_c();
        let done = tokio::select! {
            done = work => done.context("the converting thread")?,
            _ = interrupted => {
                bar.clear();
                ui::error("interrupted");
                ui::hint("run the same command again: it goes on where it was");
                // The converting thread ends with the process; what it has written is taken up.
                std::process::exit(130);
            }
        };
        bar.clear();
        let (plan, record) = done.map_err(|error| this.explain(error))?;
        match record {
            None => this.show_plan(&plan, quiet)?,
            Some(record) => this.show_record(&plan, &record, quiet)?,
        }
        Ok(())
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.to = self.to.unwrap_or_else(|| Form::of_path(&self.destination));
        options.naming.clone_from(&self.naming);
        options.dtype = self.dtype;
        options.max_shard_bytes = self.max_shard_size;
        options.parts = self.parts;
        options.ranks = self.ranks;
        options.pre_tokenizer.clone_from(&self.pre_tokenizer);
        options
    }

    fn show_plan(&self, plan: &Plan, quiet: bool) -> anyhow::Result<()> {
        let files: Vec<(&str, u64)> =
            plan.files.iter().map(|file| (file.path.as_str(), file.size_bytes(&plan.tensors))).collect();
        if self.json {
            let files: Vec<Value> =
                files.iter().map(|(path, size_bytes)| json!({ "path": path, "size_bytes": size_bytes })).collect();
            let inputs: Vec<Value> =
                plan.inputs.iter().map(|file| json!({ "path": &*file.path, "size_bytes": file.size_bytes })).collect();
            ui::json(&json!({
                "schema": "weighthouse.convert-plan/1",
                "options": plan.options,
                "inputs": inputs,
                "outputs": files,
                "tensors": plan.weights,
                "size_bytes": plan.size_bytes(),
                "memory_bytes": plan.memory_bytes(),
                "notes": plan.notes,
            }))?;
            return Ok(());
        }
        let mut text = String::new();
        for (path, size_bytes) in &files {
            text += &format!("{:>10}  {}\n", ui::size(*size_bytes), words::plain(path));
        }
        ui::data(text.trim_end())?;
        self.say_notes(&plan.notes, quiet);
        if !quiet {
            ui::note(&format!(
                "would write {} tensors ({}) in {} files, {}, with about {} of memory",
                words::digits(plan.weights as u64),
                dtypes(plan),
                words::digits(files.len() as u64),
                ui::size(plan.size_bytes()),
                ui::size(plan.memory_bytes()),
            ));
        }
        Ok(())
    }

    fn show_record(&self, plan: &Plan, record: &Record, quiet: bool) -> anyhow::Result<()> {
        if self.json {
            ui::document(record)?;
            return Ok(());
        }
        self.say_notes(&record.notes, quiet);
        if !quiet {
            ui::note(&format!(
                "wrote {} tensors ({}), {} in {} files",
                words::digits(plan.weights as u64),
                dtypes(plan),
                ui::size(plan.size_bytes()),
                words::digits(plan.files.len() as u64),
            ));
        }
        ui::data(&self.destination.display().to_string())?;
        Ok(())
    }

    fn say_notes(&self, notes: &[String], quiet: bool) {
        if !quiet {
            for note in notes {
                ui::note(&format!("note: {}", words::plain(note)));
            }
        }
    }

    /// An error with a way out.
    fn explain(&self, error: Error) -> anyhow::Error {
        let partial = convert::partial(&self.destination);
        let mut hints = Vec::new();
        match &error {
            Error::Exists { .. } if self.destination.is_file() => {
                hints.push("`--overwrite` replaces it".to_owned());
            }
            Error::Exists { .. } => hints.push("choose another destination".to_owned()),
            Error::SourceChanged { .. } => {
                hints.push("wait until nothing writes to the source, and run the same command again".to_owned());
            }
            Error::NotFound { what: "file or folder", .. } => {
                hints.push(format!("for a repository of a hub write `hub:{}`", words::plain(&self.source)));
            }
            Error::Local { .. } if partial.as_deref().is_some_and(Path::exists) => {
                let partial = partial.unwrap_or_default();
                hints.push("when the cause is gone, run the same command again: it goes on where it was".to_owned());
                hints.push(format!("or remove what is there so far: `{}`", partial.display()));
            }
            _ => {}
        }
        let mut message = words::plain(&error.to_string());
        if let Some(cause) = std::error::Error::source(&error)
            && !message.ends_with(&cause.to_string())
        {
            message = format!("{message}: {cause}");
        }
        Hinted { code: code_of(error.kind()), message, hints }.into()
    }
}

fn dtypes(plan: &Plan) -> String {
    let list = plan.by_dtype();
    list.keys().map(|dtype| dtype.as_str()).collect::<Vec<_>>().join(", ")
}

/// Reads `500MB`, `5GB`, `2GiB`, `1000000`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic()).trim();
    let unit: u64 = match text.trim_start_matches(|character: char| !character.is_ascii_alphabetic()) {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        other => return Err(format!("`{other}` is no unit; there are KB, MB, GB, TB, KiB, MiB, GiB, TiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{digits}` is no whole number"))?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(|| "that is no size".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        assert_eq!(size("500MB"), Ok(500_000_000));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("1024"), Ok(1024));
        assert!(size("5 parsecs").is_err() && size("0GB").is_err() && size("99999999TB").is_err());
    }
}
