//! Rotations of queries and keys: their base, and how they are stretched for longer texts.

use serde_json::{Map, Value};

use crate::error::FormatError;
use crate::gguf::families::keys::Keys;
use crate::gguf::families::settings::{Settings, Sizes, broken, float, missing};

/// Largest head that factors are made for.
const HEAD: u64 = 1 << 14;

/// What a configuration says of rotations, in the words of transformers 4 or 5.
pub(super) struct Rope<'a> {
    /// Layers that see everything.
    full: Option<&'a Map<String, Value>>,
    /// Base of layers that see everything.
    theta: Option<f64>,
    /// Base of layers that see a window.
    pub(super) local_theta: Option<f64>,
}

impl<'a> Rope<'a> {
    pub(super) fn of(settings: &Settings<'a>) -> Result<Self, FormatError> {
        let said = settings.find(&["rope_parameters", "rope_scaling"]).and_then(Value::as_object);
        let part = |name: &str| said.and_then(|said| said.get(name)).and_then(Value::as_object);
        let full = part("full_attention").or(said);
        let theta = |map: Option<&Map<String, Value>>| {
            let value = map.and_then(|map| map.get("rope_theta")).filter(|value| !value.is_null());
            value.map(|value| float("rope_theta", value)).transpose()
        };
        let local = theta(part("sliding_attention"))?;
        let local_theta = match local {
            Some(theta) => Some(theta),
            None => settings.float(&["rope_local_base_freq"])?,
        };
        let theta = match theta(full)? {
            Some(theta) => Some(theta),
            None => settings.float(&["rope_theta"])?,
        };
        Ok(Self { full, theta, local_theta })
    }

    fn text(&self, keys: &[&str]) -> Option<&'a str> {
        keys.iter().find_map(|key| self.full?.get(*key)?.as_str())
    }

    fn number(&self, key: &str) -> Result<Option<f64>, FormatError> {
        let value = self.full.and_then(|map| map.get(key)).filter(|value| !value.is_null());
        value.map(|value| float(key, value)).transpose()
    }

    fn needed(&self, key: &str) -> Result<f64, FormatError> {
        self.number(key)?.ok_or_else(|| missing(key))
    }

    /// Kind of the stretching; `None` for none.
    pub(super) fn kind(&self) -> Option<&'a str> {
        self.text(&["rope_type", "type"]).filter(|kind| *kind != "default")
    }

    /// Length of the texts that the model was trained on first.
    fn original(&self, settings: &Settings<'_>) -> Result<Option<f64>, FormatError> {
        match self.number("original_max_position_embeddings")? {
            Some(length) => Ok(Some(length)),
            None => settings.float(&["original_max_position_embeddings"]),
        }
    }

    /// Writes what the loader wants to know.
    pub(super) fn keys(
        &self,
        keys: &mut Keys,
        settings: &Settings<'_>,
        notes: &mut Vec<String>,
    ) -> Result<(), FormatError> {
        if let Some(theta) = self.theta {
            keys.float("rope.freq_base", theta);
        }
        match self.kind() {
            // Llama 3's is a tensor of factors.
            None | Some("llama3") => {}
            Some("linear") => {
                keys.text("rope.scaling.type", "linear");
                keys.float("rope.scaling.factor", self.needed("factor")?);
            }
            Some("yarn") => {
                keys.text("rope.scaling.type", "yarn");
                keys.float("rope.scaling.factor", self.needed("factor")?);
                let original = self.original(settings)?.ok_or_else(|| missing("original_max_position_embeddings"))?;
                keys.count("rope.scaling.original_context_length", original as u64)?;
                for (key, words) in [
                    ("rope.scaling.yarn_ext_factor", &["extrapolation_factor"][..]),
                    ("rope.scaling.yarn_attn_factor", &["attention_factor", "attn_factor"]),
                    ("rope.scaling.yarn_beta_fast", &["beta_fast"]),
                    ("rope.scaling.yarn_beta_slow", &["beta_slow"]),
                ] {
                    for word in words {
                        if let Some(number) = self.number(word)? {
                            keys.float(key, number);
                        }
                    }
                }
            }
            Some("longrope" | "su") => keys.text("rope.scaling.type", "longrope"),
            Some(other) => notes.push(format!(
                "llama.cpp has no rotation scaled like `{}`; the model is right only up to its first context length",
                other.chars().take(40).collect::<String>()
            )),
        }
        Ok(())
    }

    /// Llama 3's factors, by which frequencies are divided: one for each pair of a head.
    pub(super) fn llama3(&self, settings: &Settings<'_>, sizes: &Sizes) -> Result<Option<Vec<f32>>, FormatError> {
        if self.kind() != Some("llama3") {
            return Ok(None);
        }
        if sizes.head_dim > HEAD {
            return Err(FormatError::TooLarge {
                what: "size of a head in config.json",
                size: sizes.head_dim,
                limit: HEAD,
            });
        }
        let factor = self.needed("factor")?;
        let (low, high) = (self.needed("low_freq_factor")?, self.needed("high_freq_factor")?);
        let original = self.original(settings)?.unwrap_or(8192.0);
        if factor <= 0.0 || low <= 0.0 || high <= low {
            return Err(broken("the factors of `rope_parameters` are not in order"));
        }
        let base = self.theta.unwrap_or(10_000.0);
        let scaling = Llama3 { factor, low, high, original };
        let factors =
            (0..sizes.head_dim).step_by(2).map(|at| scaling.divisor(wavelength(base, at, sizes.head_dim)) as f32);
        Ok(Some(factors.collect()))
    }

    /// Phi 3's two lists of factors for long texts and short ones.
    pub(super) fn longrope(&self, sizes: &Sizes) -> Result<Option<[Vec<f32>; 2]>, FormatError> {
        if !matches!(self.kind(), Some("longrope" | "su")) {
            return Ok(None);
        }
        let list = |key: &str| {
            let values =
                self.full.and_then(|map| map.get(key)).and_then(Value::as_array).ok_or_else(|| missing(key))?;
            if values.len() as u64 > sizes.head_dim {
                return Err(broken(format!("`{key}` has {} factors for a head of {}", values.len(), sizes.head_dim)));
            }
            values.iter().map(|value| Ok(float(key, value)? as f32)).collect::<Result<Vec<f32>, FormatError>>()
        };
        Ok(Some([list("long_factor")?, list("short_factor")?]))
    }

    /// The part of a head that rotates.
    pub(super) fn partial(&self) -> Result<Option<f64>, FormatError> {
        self.number("partial_rotary_factor")
    }

    /// By how much longer texts sharpen attention, in Phi 3.
    pub(super) fn attention_factor(&self, context: u64, original: u64) -> Result<f64, FormatError> {
        if let Some(factor) = self.number("attention_factor")? {
            return Ok(factor);
        }
        let scale = context as f64 / original.max(1) as f64;
        Ok(if scale <= 1.0 || original <= 1 { 1.0 } else { (1.0 + scale.ln() / (original as f64).ln()).sqrt() })
    }
}

/// Length of a wave: tokens until a pair of a head has turned once.
fn wavelength(base: f64, at: u64, head_dim: u64) -> f64 {
    std::f64::consts::TAU * base.powf(at as f64 / head_dim as f64)
}

/// How Llama 3 stretches waves: long ones by a factor, short ones not at all.
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
}

impl Llama3 {
    fn divisor(&self, wavelength: f64) -> f64 {
        let Self { factor, low, high, original } = *self;
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    }
}

/// The factor and the first length of texts that give these divisors, with the bounds 1 and 4 that all models have.
pub(super) fn stretched(divisors: &[f32], base: f64, head_dim: u64) -> Option<(f64, u64)> {
    let factor = divisors.iter().copied().fold(1.0f32, f32::max);
    let factor = f64::from(factor);
    let wave = |at: usize| wavelength(base, 2 * at as u64, head_dim);
    let fits = |original: f64| {
        let scaling = Llama3 { factor, low: 1.0, high: 4.0, original };
        let mut all = divisors.iter().enumerate();
        all.all(|(at, &found)| (scaling.divisor(wave(at)) - f64::from(found)).abs() <= 1e-4 * factor)
    };
    // One wave between long and short tells the length; without one the usual length may do.
    let between = divisors.iter().enumerate().find(|(_, found)| **found > 1.001 && f64::from(**found) < factor * 0.999);
    let told = between.map(|(at, &found)| {
        let smooth = (1.0 / f64::from(found) - 1.0 / factor) / (1.0 - 1.0 / factor);
        (wave(at) * (1.0 + 3.0 * smooth)).round()
    });
    let original = [Some(8192.0), told].into_iter().flatten().find(|&original| fits(original))?;
    (divisors.len() as u64 * 2 == head_dim && (1.0..1e9).contains(&original)).then_some((factor, original as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn factors(config: Value) -> Result<Option<Vec<f32>>, FormatError> {
        let config = config.as_object().cloned().unwrap_or_default();
        let settings = Settings::new(&config);
        let sizes = Sizes { blocks: 1, hidden: 64, heads: 4, kv_heads: 4, head_dim: 16, experts: 0 };
        Rope::of(&settings)?.llama3(&settings, &sizes)
    }

    #[test]
    fn long_waves_are_stretched_and_short_ones_are_not() {
        let scaling = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        });
        let new = factors(json!({"rope_parameters": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64, "rope_theta": 500000.0,
        }}))
        .unwrap()
        .unwrap();
        let old = factors(json!({"rope_scaling": scaling, "rope_theta": 500000})).unwrap().unwrap();
        assert_eq!(new, old);
        assert_eq!((new.len(), new[0], new[2], new[7]), (8, 1.0, 8.0, 8.0));
        assert!(new[1] > 1.0 && new[1] < 8.0, "{new:?}");
        assert_eq!(factors(json!({"rope_theta": 500000})).unwrap(), None);
    }

    #[test]
    fn the_scaling_is_told_from_its_factors() {
        for (factor, original, base, head_dim) in [(8.0, 8192.0, 500_000.0, 128), (32.0, 8192.0, 500_000.0, 64)] {
            let scaling = Llama3 { factor, low: 1.0, high: 4.0, original };
            let divisors: Vec<f32> =
                (0..head_dim / 2).map(|at| scaling.divisor(wavelength(base, 2 * at, head_dim)) as f32).collect();
            assert_eq!(stretched(&divisors, base, head_dim), Some((factor, original as u64)));
            assert_eq!(stretched(&divisors, base * 3.0, head_dim), None);
            assert_eq!(stretched(&divisors, base, head_dim * 2), None);
        }
        assert_eq!(stretched(&[f32::NAN, 1.0], 10_000.0, 4), None);
        assert_eq!(stretched(&[], 10_000.0, 64), None);
    }

    #[test]
    fn scalings_without_sense_are_refused_by_name() {
        let error = |parameters: Value| factors(json!({"rope_parameters": parameters})).unwrap_err().to_string();
        assert!(error(json!({"rope_type": "llama3"})).contains("`factor` is missing"));
        let wrong = json!({"type": "llama3", "factor": 0.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
        assert!(error(wrong).contains("not in order"));
        assert!(error(json!({"rope_theta": "big"})).contains("`rope_theta`"));
        assert!(error(json!({"rope_theta": 1e300})).contains("`rope_theta`"));
    }
}
