//! The targets by name.

use std::panic;
use std::process;
use std::sync::OnceLock;

use crate::input::Input;

type Target = fn(Input<'_>);

/// In the order in which `fuzz/run` runs them.
const ALL: [(&str, Target); 8] = [
    ("write_buffer", crate::transports::buffered::fuzz),
    ("flow_control", crate::transports::marks::fuzz),
    ("timers", crate::scheduler::ordered::fuzz),
    ("addresses", crate::addresses::fuzz),
    ("names", crate::sys::written::fuzz),
    ("ciphertext", crate::ffi::lines::fuzz),
    ("reading", crate::transports::streams::separated::fuzz),
    ("capsule", crate::ffi::calls::fuzz),
];

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Takes the target whose name is in the environment; ends the process if there is none.
pub(crate) fn choose() {
    let wanted = std::env::var("TARGET").unwrap_or_default();
    if wanted == "list" {
        ALL.iter().for_each(|(name, _)| println!("{name}"));
        process::exit(0);
    }
    let Some((_, target)) = ALL.iter().find(|(name, _)| *name == wanted) else {
        let names = ALL.map(|(name, _)| name).join(", ");
        eprintln!("no target {wanted:?}: TARGET is one of {names}");
        process::exit(2);
    };
    CHOSEN.get_or_init(|| *target);
    let ends_the_run = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&PLANNED) {
            ends_the_run(panic);
        }
    }));
}

/// A panic with this message belongs to the program under test, which must contain it.
pub(crate) const PLANNED: &str = "planned";

/// One program. Whatever it makes is freed at its end.
pub(crate) fn run(data: &[u8]) {
    let Some(target) = CHOSEN.get() else {
        process::exit(2);
    };
    let before = pyo3::object::live();
    target(Input::new(data));
    assert_eq!(pyo3::object::live(), before, "objects are left");
}
