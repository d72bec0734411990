//! Sets the cfg `unwinds_by_force` if the interpreter ends threads by a forced unwind when it finalizes.

use std::env;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(unwinds_by_force)");
    let is = |name: &str, value| env::var(name).as_deref() == Ok(value);
    let version = pyo3_build_config::get().version();
    // glibc's `pthread_exit` unwinds; those of musl and macOS do not. 32-bit ARM has a different unwinder.
    if is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && is("CARGO_CFG_PANIC", "unwind")
        && !is("CARGO_CFG_TARGET_ARCH", "arm")
        && (version.major, version.minor) < (3, 14)
    {
        println!("cargo:rustc-cfg=unwinds_by_force");
    }
}
