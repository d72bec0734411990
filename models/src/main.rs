//! Every schedule of the parts that threads share without a lock, up to a bound: `make models`.
//!
//! The rooms contain the crate's own files; what they need of Python, tokio and the system has a small stand-in.
//! docs/design/0032-models.md says what is modelled, and what is not.

#![allow(
    dead_code,
    clippy::wildcard_imports,
    reason = "the files belong to another crate, which uses the rest of them"
)]

mod driver;
mod ffi;
mod models;
mod run;
mod scheduler;
mod sync;
mod sys;

use std::process::ExitCode;

/// Runs the models whose names are arguments, or all.
fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| it == name);
    let chosen: Vec<_> = models::ALL.iter().filter(|it| is_wanted(it.name)).collect();
    let all_pass = chosen.iter().all(|model| run::passes(model));
    // A name without a model is a mistake of the caller, not a success.
    ExitCode::from(u8::from(!all_pass || chosen.is_empty()))
}
