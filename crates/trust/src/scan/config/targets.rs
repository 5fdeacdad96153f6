//! Paths of classes and functions in configurations.

use super::super::pickle::danger;
use super::super::verdict::Verdict;

/// Packages whose classes a configuration may name.
const LIBRARIES: &[&str] = &[
    "torch",
    "nemo",
    "nemo_automodel",
    "transformers",
    "diffusers",
    "lightning",
    "pytorch_lightning",
    "torchvision",
    "torchaudio",
    "timm",
    "peft",
    "megatron",
    "omegaconf",
    "torchmetrics",
    "ldm",
    "sgm",
    "audiocraft",
    "fairseq",
    "fairseq2",
    "espnet",
    "espnet2",
    "speechbrain",
    "datasets",
    "tokenizers",
    "sentence_transformers",
    "trl",
    "accelerate",
    "mmcv",
    "mmdet",
    "mmengine",
    "detectron2",
    "open_clip",
    "xformers",
    "torchtune",
    "monai",
    "flax",
    "optax",
    "keras",
];

/// What a path of a class or function in a configuration means: nothing, or a verdict and why.
pub(super) fn judge(path: &str) -> Option<(Verdict, String)> {
    let (module, name) = path.rsplit_once('.').unwrap_or(("", path));
    let (module, name) = if module.is_empty() { (path, "") } else { (module, name) };
    if let Some(found) = danger(module, name).or_else(|| danger(path, "")) {
        return Some((Verdict::Unsafe, format!("which {}", found.effect)));
    }
    let package = path.split('.').next().unwrap_or(path);
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
    let hidden = path.split('.').any(|part| part.starts_with("__") && part != "__main__");
    if !plain || hidden {
        return Some((Verdict::Suspicious, "which is no plain name".to_owned()));
    }
    if LIBRARIES.contains(&package) {
        return None;
    }
    if package == "builtins" {
        let data = [
            "list", "dict", "tuple", "set", "int", "float", "str", "bool", "slice", "range", "object", "complex",
            "bytes",
        ];
        return (!data.contains(&name))
            .then(|| (Verdict::Suspicious, "which is a function of Python itself".to_owned()));
    }
    if name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
        return Some((Verdict::Caution, "which comes with code of its own".to_owned()));
    }
    Some((Verdict::Suspicious, "which is a function that is not known".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_judged_by_what_they_reach() {
        let verdict = |path| judge(path).map(|found| found.0);
        for (path, expected) in [
            ("torch.nn.Linear", None),
            ("nemo.collections.asr.models.EncDecCTCModel", None),
            ("builtins.dict", None),
            ("my_project.models.Net", Some(Verdict::Caution)),
            ("my_project.run", Some(Verdict::Suspicious)),
            ("os.system", Some(Verdict::Unsafe)),
            ("subprocess", Some(Verdict::Unsafe)),
            ("builtins.exec", Some(Verdict::Unsafe)),
            ("torch.hub.load", Some(Verdict::Unsafe)),
            ("torch.nn.__init__.os.system", Some(Verdict::Suspicious)),
            ("builtins.print", Some(Verdict::Suspicious)),
        ] {
            assert_eq!(verdict(path), expected, "{path}");
        }
    }
}
