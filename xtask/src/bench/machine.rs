//! What a figure was measured on.

use std::fs;
use std::process::Command;
use std::thread;

use crate::shell;

/// One line: processor, cores, memory, kernel and how busy the machine is.
pub fn machine() -> String {
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory_kib: u64 =
        field("/proc/meminfo", "MemTotal").and_then(|size| size.split(' ').next()?.parse().ok()).unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = shell::read(Command::new("uname").arg("-sr")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{processor}, {cores} cores, {} GiB, {}; load {load}", memory_kib >> 20, kernel.trim())
}

/// The value of the first line `name: value` of a file.
pub fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}
