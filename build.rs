//! Passes the interpreter's build facts (`Py_3_12`, `Py_GIL_DISABLED`, …) on as `cfg`s.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
