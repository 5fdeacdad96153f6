//! Reads of ranges of a repacked file, beside nginx on the plain file.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Bench, text};
use crate::bench::transfer::http::Place;
use crate::bench::transfer::hub::Hub;
use crate::bench::transfer::nginx::{self, Nginx};
use crate::shell;

const BYTES: u64 = 1_000_000_000;
const SIZES: [u64; 4] = [64 << 10, 512 << 10, 2 << 20, 8 << 20];
const READS: usize = 200;

impl Bench {
    /// Ranges at places that follow from a seed, in turns with nginx; the first of each is not counted.
    pub fn reads(&self) -> Result<()> {
        nginx::install()?;
        let place = self.place("reads")?;
        let work = place.join("work");
        fs::create_dir_all(&work)?;
        // A fine-tune of a base, so that a read decodes both.
        self.arrays(&["family", text(&work)?, &self.bytes(BYTES).to_string()])?;
        let data = place.join("data");
        let hub = Hub::start(&self.wh, &data)?;
        // Each by itself, so that it is the second that is coded as a difference to the first.
        for name in ["base", "full"] {
            self.push(&hub, &work.join(format!("{name}.safetensors")), "admin/reads")?;
            self.repack(&data)?;
        }
        let nginx = Nginx::start(&work)?;
        let whole = fs::metadata(work.join("full.safetensors"))?.len();
        shell::say(&format!(
            "\n{:<30} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            format!("ranges of {whole} bytes, ms"),
            "nginx p50",
            "p99",
            "wh p50",
            "p99",
            "p50 ratio",
            "p99 ratio"
        ));
        compare(&nginx, &hub, "base.safetensors", whole, "coded alone")?;
        compare(&nginx, &hub, "full.safetensors", whole, "coded as a difference")?;
        drop(hub);
        let hub = Hub::start_with(&self.wh, &data, &["--hot-bytes", &(2 * whole).to_string()])?;
        warm(&hub.place("/admin/reads/resolve/main/full.safetensors"), &data.join("hot"), whole)?;
        compare(&nginx, &hub, "full.safetensors", whole, "from a plain copy")?;
        drop(hub);
        drop(nginx);
        fs::remove_dir_all(&place)?;
        Ok(())
    }
}

/// Prints a line for each size of ranges.
fn compare(nginx: &Nginx, hub: &Hub, name: &str, whole: u64, what: &str) -> Result<()> {
    let ours = hub.place(&format!("/admin/reads/resolve/main/{name}"));
    let theirs = nginx.place(&format!("/{name}"));
    for size in SIZES.into_iter().filter(|&size| size < whole / 4) {
        let ([n50, n99], [w50, w99]) = in_turns(&theirs, &ours, whole, size)?;
        shell::say(&format!(
            "  {:<28} {n50:>9.2} {n99:>9.2} {w50:>9.2} {w99:>9.2} {:>9.2} {:>9.2}",
            format!("{} KiB, {what}", size >> 10),
            w50 / n50,
            w99 / n99
        ));
    }
    Ok(())
}

/// Reads a file until the hub keeps a plain copy of it.
fn warm(file: &Place, hot: &Path, whole: u64) -> Result<()> {
    for _ in 0..60 {
        file.download(whole)?;
        for copy in fs::read_dir(hot)? {
            if copy?.metadata()?.len() == whole {
                return Ok(());
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
    bail!("the hub made no plain copy below {}", hot.display())
}

/// Median and 99th percentile of both, in milliseconds.
fn in_turns(theirs: &Place, ours: &Place, whole: u64, size: u64) -> Result<([f64; 2], [f64; 2])> {
    let mut times = [Vec::new(), Vec::new()];
    let mut state = size;
    for read in 0..=READS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let begin = (state >> 16) % (whole - size);
        let mut bodies = Vec::new();
        for (place, times) in [theirs, ours].into_iter().zip(&mut times) {
            let began = Instant::now();
            bodies.push(place.range(begin, size)?);
            if read > 0 {
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        anyhow::ensure!(bodies[0] == bodies[1], "bytes {begin}.. differ from the plain file");
    }
    let figures = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        [times[times.len() / 2], times[times.len() * 99 / 100]]
    });
    let [theirs, ours] = figures;
    Ok((theirs, ours))
}
