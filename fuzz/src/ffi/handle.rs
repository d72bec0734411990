//! A stand-in: a handle is whether it was cancelled.

use std::cell::Cell;

use pyo3::prelude::*;

#[derive(Debug, Default)]
pub(crate) struct Handle(Cell<bool>);

fn flag<'a>(handle: &'a Bound<'_, Handle>) -> &'a Cell<bool> {
    &handle.get::<Handle>().expect("a handle").0
}

pub(crate) fn is_cancelled(handle: &Bound<'_, Handle>) -> bool {
    flag(handle).get()
}

pub(crate) fn cancel(handle: &Bound<'_, Handle>) {
    flag(handle).set(true);
}
