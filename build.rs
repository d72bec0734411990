//! Passes the interpreter's build facts (`Py_3_12`, `Py_GIL_DISABLED`, …) on as `cfg`s.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    // On Linux, mio can only wake a reactor through an eventfd: redirect its call to `src/sys/linux/event_fd.rs`.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-cdylib=-Wl,--wrap=eventfd");
    }
}
