//! Has the linker pack relative relocations (DT_RELR). A program that may be loaded anywhere has tens of thousands of
//! them; unpacked they are a megabyte that the loader reads at the start and that stays resident.

use std::process::Command;

/// The first glibc whose loader knows them.
const GLIBC: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_target = |key: &str, value: &str| std::env::var(key).is_ok_and(|of| of == value);
    let is_gnu = is_target("CARGO_CFG_TARGET_OS", "linux") && is_target("CARGO_CFG_TARGET_ENV", "gnu");
    // One that is linked statically has no loader, and relocates itself.
    let is_static =
        std::env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|features| features.contains("crt-static"));
    // Programs run on what they are built on, or on something newer.
    if is_gnu && !is_static && glibc().is_some_and(|version| version >= GLIBC) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the C library here.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
