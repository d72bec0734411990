//! Whether the end of the interpreter unwinds threads by force, as a `cfg`.

use std::env;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(unwinds_by_force)");
    let is = |name: &str, value| env::var(name).as_deref() == Ok(value);
    let version = pyo3_build_config::get().version();
    // glibc's `pthread_exit` unwinds, musl's and that of macOS do not. 32-bit ARM has another unwinder.
    if is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && is("CARGO_CFG_PANIC", "unwind")
        && !is("CARGO_CFG_TARGET_ARCH", "arm")
        && (version.major, version.minor) < (3, 14)
    {
        println!("cargo:rustc-cfg=unwinds_by_force");
    }
}
