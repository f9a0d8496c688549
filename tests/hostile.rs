//! Hostile bytes: what they may take of CPU, memory, disk and log, and what they must not do to other
//! partners. Most tests end with a partner's signed order, which is delivered whole.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "hostile/cpu.rs"]
mod cpu;
#[path = "hostile/disk.rs"]
mod disk;
#[path = "hostile/forgeries.rs"]
mod forgeries;
#[path = "hostile/leaks.rs"]
mod leaks;
#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/places.rs"]
mod places;
#[path = "hostile/promises.rs"]
mod promises;
#[path = "hostile/stage.rs"]
mod stage;
