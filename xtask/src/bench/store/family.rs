//! Stored sizes of a family of models, of quantised files, and of the same weights in three formats.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::kept::Versions;
use super::{Bench, text};
use crate::bench::figures::ratio;
use crate::shell;

const FAMILY_BYTES: u64 = 1_300_000_000;
const FORMATS_BYTES: u64 = 400_000_000;

impl Bench {
    /// Base, full fine-tune, frozen-backbone fine-tune and next step, each beside the same stored by others.
    pub fn family(&self) -> Result<()> {
        let place = self.place("family")?;
        self.arrays(&["family", text(&place)?, &self.bytes(FAMILY_BYTES).to_string()])?;
        let files = ["base", "full", "frozen", "next"].map(|name| place.join(format!("{name}.safetensors")));
        let versions = Versions { files: &files, name: Some("model.safetensors") };
        let (ideal, whole) = self.entropy("2", &files)?;
        let law: f64 = self.arrays(&["law", &self.bytes(FAMILY_BYTES).to_string()])?.trim().parse()?;
        let (before, ours) = self.kept_by_us(&versions)?;
        let one_by_one = self.kept_by_us_as_they_come(&versions)?;
        let xet = self.kept_by_xet(&versions)?;
        let dvc = self.kept_by_dvc(&versions)?;
        let lfs = self.kept_by_lfs(&versions)?;
        let one = whole / files.len() as f64;
        shell::say(&format!(
            "\n{:<46} {:>10} {:>10}",
            format!("four bf16 versions of {:.2} GB", one / 1e9),
            "GB",
            "copies"
        ));
        for (what, bytes) in [
            ("files as they are", whole),
            ("order-0 code of byte planes, each alone", ideal),
            ("least, if the law of every row were known", law),
            ("git-lfs", lfs),
            ("DVC", dvc),
            ("hf-xet, local store", xet),
            ("wh serve, as pushed", before),
            ("wh serve, each coded when it comes", one_by_one),
            ("wh serve, coded when all are there", ours),
        ] {
            shell::say(&format!("  {what:<44} {:>10.3} {:>10.3}", bytes / 1e9, bytes / one));
        }
        shell::say(&ratio("wh / hf-xet", ours / xet, "≤ 0.40", ours / xet <= 0.40));
        shell::say(&ratio("wh / DVC", ours / dvc, "≤ 0.25", ours / dvc <= 0.25));
        fs::remove_dir_all(&place)?;
        Ok(())
    }

    /// Quantised files, and one model as .bin, .safetensors and .gguf.
    pub fn formats(&self) -> Result<()> {
        let place = self.place("formats")?;
        let bytes = self.bytes(FORMATS_BYTES).to_string();
        self.arrays(&["triple", text(&place)?, &bytes])?;
        self.arrays(&["gguf", text(&place)?, &bytes])?;
        let inside = |name: &str| place.join(name);
        let triple = ["pytorch_model.bin", "model.safetensors", "model.gguf"].map(inside);
        shell::say(&format!("\n{:<32} {:>10} {:>10} {:>10} {:>10}", "stored, MB", "files", "order-0", "hf-xet", "wh"));
        for name in ["Q8_0", "Q4_K"] {
            self.kept(name, "1", &[inside(&format!("model-{name}.gguf"))])?;
        }
        let ours = self.kept(".bin, .safetensors and .gguf", "2", &triple)?;
        let mut largest = 0f64;
        for file in triple {
            largest = largest.max(fs::metadata(&file)?.len() as f64);
        }
        let share = ours / largest;
        shell::say(&ratio("the three / the largest of them", share, "≤ 1.1", share <= 1.1));
        fs::remove_dir_all(&place)?;
        Ok(())
    }

    /// One line of the table of formats; returns what we keep.
    fn kept(&self, what: &str, word: &str, files: &[PathBuf]) -> Result<f64> {
        let versions = Versions { files, name: None };
        let (ideal, whole) = self.entropy(word, files)?;
        let xet = self.kept_by_xet(&versions)?;
        let (_, ours) = self.kept_by_us(&versions)?;
        let [whole, ideal, xet, mb] = [whole, ideal, xet, ours].map(|bytes| bytes / 1e6);
        shell::say(&format!("  {what:<30} {whole:>10.1} {ideal:>10.1} {xet:>10.1} {mb:>10.1}"));
        Ok(ours)
    }
}
