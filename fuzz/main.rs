//! One program for all targets: `$WH_FUZZ_TARGET` says which; without it, their names are listed.

#![no_main]

mod codec;
mod memory;
mod targets;

use std::sync::OnceLock;

use targets::{TARGETS, Target};

#[global_allocator]
static MEMORY: memory::Bounded = memory::Bounded;

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// The targets of the readers, and that of the store.
fn all() -> impl Iterator<Item = Target> {
    TARGETS.iter().copied().chain([Target { name: "codec", run: codec::run }])
}

fn choose() {
    let wanted = std::env::var("WH_FUZZ_TARGET").unwrap_or_default();
    match all().find(|target| target.name == wanted) {
        Some(target) => {
            let _ = CHOSEN.set(target);
        }
        None => {
            for target in all() {
                println!("{}", target.name);
            }
            std::process::exit(i32::from(!wanted.is_empty()));
        }
    }
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        (target.run)(data);
    }
});
