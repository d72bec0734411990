//! Casts that recognise the usual class without a walk through the bases.

use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The object as an instance of `T` or of a subclass. `usual` remembers the class of the first one.
#[inline]
pub(crate) fn cast_to_usual<'a, 'py, T: PyTypeInfo>(
    object: &'a Bound<'py, PyAny>,
    usual: &'static PyOnceLock<Py<PyType>>,
) -> Option<&'a Bound<'py, T>> {
    let py = object.py();
    let class = object.get_type_ptr();
    if usual
        .get(py)
        .is_some_and(|usual| usual.as_ptr() == class.cast())
    {
        // SAFETY: this very class passed the check below. A class stays a subclass of `T`: its instances have the
        // layout of `T`, and the interpreter refuses new bases with another one.
        return Some(unsafe { object.cast_unchecked() });
    }
    let cast = object.cast().ok()?;
    // Ignored: another thread was first, with the same class or another one.
    let _ = usual.set(py, object.get_type().unbind());
    Some(cast)
}
