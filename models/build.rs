//! Compiles the fences that free-threaded Python needs; a GIL would hide the schedules.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(Py_GIL_DISABLED)");
    println!("cargo::rustc-cfg=Py_GIL_DISABLED");
    println!("cargo::rerun-if-changed=build.rs");
}
