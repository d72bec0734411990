//! Passes the interpreter's build facts (`Py_3_12`, `Py_GIL_DISABLED`, …) on as `cfg`s.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo::rustc-env=TOKIO_VERSION={}", tokio_version());
    // On Linux, mio can only wake a reactor through an eventfd: redirect its call to `src/sys/linux/event_fd.rs`.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-cdylib=-Wl,--wrap=eventfd");
    }
}

/// The version that Cargo has chosen.
fn tokio_version() -> String {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"tokio\"");
    let line = lines.nth(1).unwrap_or_default();
    let version = line.strip_prefix("version = \"");
    version
        .map_or("of unknown version", |version| {
            version.trim_end_matches('"')
        })
        .to_owned()
}
