//! Most memory of the server while it codes one large file anew.

use std::fs;

use anyhow::Result;

use super::{Bench, text};
use crate::bench::figures::ratio;
use crate::bench::transfer::hub::Hub;
use crate::shell;

const BYTES: u64 = 10_000_000_000;

impl Bench {
    /// The server is started anew after the upload, so that its peak is that of repacking.
    pub fn memory(&self) -> Result<()> {
        let place = self.place("memory")?;
        let (file, data) = (place.join("model.safetensors"), place.join("data"));
        self.arrays(&["large", text(&file)?, &self.bytes(BYTES).to_string()])?;
        let whole = fs::metadata(&file)?.len();
        let hub = Hub::start(&self.wh, &data)?;
        self.push(&hub, &file, "admin/memory")?;
        drop(hub);
        fs::remove_file(&file)?;
        let hub = Hub::start(&self.wh, &data)?;
        let idle = hub.peak_memory_mb()?;
        self.repack(&data)?;
        let busy = hub.peak_memory_mb()?;
        drop(hub);
        shell::say(&format!("\n{:<46} {:>21}", format!("VmHWM of wh serve, repack of {whole} bytes"), "MB"));
        shell::say(&format!("  {:<44} {idle:>21.1}", "idle"));
        shell::say(&ratio("repack, MB", busy, "< 512", busy < 512.0));
        fs::remove_dir_all(&place)?;
        Ok(())
    }
}
