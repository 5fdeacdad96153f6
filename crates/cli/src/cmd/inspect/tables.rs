//! Tensors one a line, with statistics or digests if they were taken.

use std::fmt::Write;

use regex_lite::Regex;
use weighthouse::format::Tensor;
use weighthouse::format::stats::Read;
use weighthouse::inspect::Inspection;

use crate::words::{digits, plain, real, shape};

/// The tensors whose names match; all without a filter.
pub fn tensors(found: &Inspection, filter: Option<&Regex>) -> String {
    let chosen: Vec<(&Tensor, Option<&Result<Read, String>>)> = found
        .checkpoint
        .tensors()
        .enumerate()
        .filter(|(_, tensor)| filter.is_none_or(|filter| filter.is_match(&tensor.name)))
        .map(|(number, tensor)| (tensor, found.read(number)))
        .collect();
    let mut out = String::new();
    if chosen.is_empty() {
        let _ = writeln!(out, "\n  no tensor matches");
        return out;
    }
    let column = |text: &dyn Fn(&Tensor) -> String, most: usize| {
        chosen.iter().map(|(tensor, _)| text(tensor).chars().count()).max().unwrap_or(0).min(most)
    };
    let width = column(&|tensor| plain(&tensor.name), 70);
    let shapes = column(&|tensor| shape(&tensor.shape), 24);
    let _ = writeln!(out);
    if chosen.iter().any(|(_, read)| matches!(read, Some(Ok(read)) if read.stats.is_some())) {
        let head =
            ["min", "max", "mean", "std", "norm", "zeros", "NaN/Inf"].map(|name| format!("{name:>10}")).join(" ");
        let _ = writeln!(out, "  {:<width$}  {:<6} {:<shapes$} {head}", "tensor", "dtype", "shape");
    }
    for (tensor, read) in chosen {
        let _ = write!(
            out,
            "  {:<width$}  {:<6} {:<shapes$}",
            plain(&tensor.name),
            tensor.dtype.as_str(),
            shape(&tensor.shape)
        );
        match read {
            Some(Ok(read)) => out += &numbers(read),
            Some(Err(error)) => {
                let _ = write!(out, " cannot be read: {}", plain(error));
            }
            None => {}
        }
        out.push('\n');
    }
    out
}

fn numbers(read: &Read) -> String {
    let mut out = String::new();
    if let Some(stats) = &read.stats {
        let reals = [stats.min, stats.max, stats.mean, stats.std(), stats.norm()];
        let reals =
            reals.map(|number| format!("{:>10}", if stats.finite == 0 { "–".to_owned() } else { real(number) }));
        let counts = [stats.zeros, stats.nan + stats.infinite].map(|number| format!("{:>10}", digits(number)));
        let _ = write!(out, " {} {}", reals.join(" "), counts.join(" "));
    }
    if let Some(sha256) = &read.sha256 {
        let _ = write!(out, "  {}", sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
    out
}
