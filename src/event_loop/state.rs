//! What a loop says of itself; asyncio's futures and tasks ask for it all the time.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyType};

use crate::ffi::{Args, FastMethod, add_fast_method, make};
use crate::scheduler::{Core, seconds};
use crate::sys::clock::monotonic_ns;

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<Time>(class)?;
    add_fast_method::<GetDebug>(class)?;
    add_fast_method::<IsRunning>(class)?;
    add_fast_method::<IsClosed>(class)
}

struct Time;

impl FastMethod for Time {
    type Receiver = Core;
    const NAME: &'static CStr = c"time";
    const DOC: &'static CStr = c"time($self)\n--\n\nSeconds on the clock of `time.monotonic()`.";
    const IS_LIGHT: bool = true;

    fn call<'py>(this: &Bound<'py, Core>, arguments: Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("time", 0, 0)?;
        Ok(make::float(this.py(), seconds(monotonic_ns()))?.into_any())
    }
}

/// Declares a method without arguments that answers yes or no.
macro_rules! question {
    ($type:ident, $name:literal, $doc:literal, |$core:ident| $answer:expr) => {
        struct $type;

        impl FastMethod for $type {
            type Receiver = Core;
            const NAME: &'static CStr = crate::ffi::text(concat!($name, "\0"));
            const DOC: &'static CStr =
                crate::ffi::text(concat!($name, "($self)\n--\n\n", $doc, "\0"));
            const IS_LIGHT: bool = true;

            fn call<'py>(
                this: &Bound<'py, Core>,
                arguments: Args<'_, 'py>,
            ) -> PyResult<Bound<'py, PyAny>> {
                arguments.expect($name, 0, 0)?;
                let $core = this.get();
                Ok(PyBool::new(this.py(), $answer).to_owned().into_any())
            }
        }
    };
}

question!(GetDebug, "get_debug", "Whether debug mode is on.", |core| {
    core.is_debug()
});
question!(
    IsRunning,
    "is_running",
    "Whether a thread is inside `run_forever()`.",
    |core| core.is_running()
);
question!(
    IsClosed,
    "is_closed",
    "Whether `close()` was called.",
    |core| core.is_closed()
);
