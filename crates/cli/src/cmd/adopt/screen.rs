//! What `wh adopt` shows.

use std::fmt::Write;

use weighthouse::adopt::link::Linked;
use weighthouse::adopt::{Layout, Problem, Problems, Report};

use super::take::Taken;
use crate::ui::size;
use crate::words::{digits, plain};

/// Groups, models and problems that are listed; the JSON has all.
const LISTED: usize = 20;

/// The report. With `hints`, what could be done next.
pub fn report(report: &Report, hints: bool) -> String {
    let mut out = String::new();
    let looked = &report.looked;
    let _ = writeln!(
        out,
        "{} files, {} in {}",
        digits(looked.files),
        size(looked.size_bytes),
        report.roots.iter().map(|root| plain(&root.display().to_string())).collect::<Vec<_>>().join(", ")
    );
    let mut aside = Vec::new();
    for (count, what) in [
        (looked.small_files, "too small to compare"),
        (looked.partial_files, "still being written, left alone"),
        (looked.links_out, "links that lead out, not followed"),
    ] {
        if count > 0 {
            aside.push(format!("{} {what}", digits(count)));
        }
    }
    if !aside.is_empty() {
        let _ = writeln!(out, "  ({})", aside.join("; "));
    }
    models(&mut out, report);
    duplicates(&mut out, report);
    near(&mut out, report);
    let free = &report.freeable;
    let _ = writeln!(out, "\nCould be freed");
    let _ = writeln!(out, "  {:>10}  by links between identical files (--link, --hard-link)", size(free.link_bytes));
    let _ = writeln!(
        out,
        "  {:>10}  by a store that keeps each file and each tensor once (--into --free), before compression",
        size(free.store_bytes)
    );
    problems(&mut out, &report.problems);
    if hints {
        let _ = writeln!(out, "\nNothing was changed.");
    }
    out
}

fn models(out: &mut String, report: &Report) {
    if report.models.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nModels");
    let mut models: Vec<_> = report.models.iter().collect();
    models.sort_by_key(|model| std::cmp::Reverse(model.size_bytes));
    for model in models.iter().take(LISTED) {
        let kind = match model.layout {
            Layout::HfCache => "Hugging Face",
            Layout::Ollama => "Ollama",
            _ => "folder",
        };
        let place = plain(&model.folder.display().to_string());
        let _ = writeln!(out, "  {:>10}  {:<12}  {}  {place}", size(model.size_bytes), kind, plain(&model.name));
    }
    more(out, models.len());
}

fn duplicates(out: &mut String, report: &Report) {
    if report.duplicates.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nIdentical files");
    for group in report.duplicates.iter().take(LISTED) {
        let _ = writeln!(out, "  {:>10}  {} copies", size(group.size_bytes), group.copies.len());
        for copy in group.copies.iter().take(LISTED) {
            let names: Vec<_> = copy.paths.iter().map(|path| plain(&path.display().to_string())).collect();
            let _ = writeln!(out, "              {}", names.join(" = "));
        }
    }
    more(out, report.duplicates.len());
}

fn near(out: &mut String, report: &Report) {
    if report.near.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nDifferent files with the same tensors");
    for group in report.near.iter().take(LISTED) {
        let what = if group.same { "the same weights" } else { "weights in common" };
        let _ = writeln!(out, "  {:>10}  {what}, in {} checkpoints", size(group.repeated_bytes), group.sets.len());
        for set in group.sets.iter().take(LISTED) {
            let percent = |bytes: u64| bytes as f64 * 100.0 / set.tensor_bytes.max(1) as f64;
            let rounded = match set.rounded_bytes {
                0 => String::new(),
                _ if set.shared_bytes == 0 => ", rounded from F32".to_owned(),
                bytes => format!(", {:.0} % rounded from F32", percent(bytes)),
            };
            let (shared, path) = (percent(set.shared_bytes + set.rounded_bytes), plain(&set.path));
            let _ = writeln!(out, "              {shared:>4.0} % of {path} ({}){rounded}", set.format);
        }
    }
    more(out, report.near.len());
}

fn more(out: &mut String, count: usize) {
    if count > LISTED {
        let _ = writeln!(out, "  … and {} more; --json lists all", digits((count - LISTED) as u64));
    }
}

fn problems(out: &mut String, problems: &Problems) {
    if problems.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nLeft out");
    lines(out, &problems.lines);
    let more = problems.count.saturating_sub(problems.lines.len().min(LISTED) as u64);
    if more > 0 {
        let _ = writeln!(out, "  … and {} more", digits(more));
    }
}

fn lines(out: &mut String, problems: &[Problem]) {
    for problem in problems.iter().take(LISTED) {
        let _ = writeln!(out, "  {}: {}", plain(&problem.path), plain(&problem.message));
    }
}

/// What links freed.
pub fn linked(done: &Linked) -> String {
    let noun = if done.files == 1 { "file" } else { "files" };
    let mut out = format!("\nLinked {} {noun}: {} are free\n", digits(done.files), size(done.freed_bytes));
    problems(&mut out, &done.problems);
    out
}

/// What came of the models.
pub fn adopted(models: &[Taken]) -> String {
    let mut out = "\nTaken in\n".to_owned();
    for model in models {
        if let Some(failure) = &model.failure {
            let _ = writeln!(out, "  failed: {}: {}", plain(&model.name), plain(failure));
        }
        if !model.repo.is_empty() {
            let _ = writeln!(
                out,
                "  {:>10}  {}: {} files, read back and compared",
                size(model.verified_bytes),
                plain(&model.repo),
                digits(model.verified_files)
            );
        }
        lines(&mut out, &model.problems);
        if let Some(freed) = &model.freed {
            let _ = writeln!(out, "  {:>10}  are free", size(freed.freed_bytes));
            if let Some(command) = &model.restore {
                let _ = writeln!(out, "              back with: {}", plain(command));
            }
            lines(&mut out, &freed.problems.lines);
        }
    }
    out
}
