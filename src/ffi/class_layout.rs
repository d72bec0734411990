//! Offsets of the parts of an instance.

use pyo3::prelude::*;
use pyo3::types::PyType;

/// The layout of an instance: the base's part, a list of weak references and a dict if the base has none, then the
/// value.
pub(super) struct Layout {
    pub(super) weak_references: Option<usize>,
    pub(super) dict: Option<usize>,
    pub(super) value: usize,
    pub(super) size: usize,
}

impl Layout {
    pub(super) fn after<T>(base: &Bound<'_, PyType>, has_dict: bool) -> PyResult<Self> {
        let basic_size: usize = base.getattr("__basicsize__")?.extract()?;
        let has_weak_references = base.getattr("__weakrefoffset__")?.extract::<isize>()? != 0;
        let word = size_of::<usize>();
        let mut next = basic_size.next_multiple_of(word);
        let weak_references = (!has_weak_references).then_some(next);
        if weak_references.is_some() {
            next += word;
        }
        let base_has_dict = base.getattr("__dictoffset__")?.extract::<isize>()? != 0;
        let dict = (has_dict && !base_has_dict).then_some(next);
        if dict.is_some() {
            next += word;
        }
        let value = next.next_multiple_of(align_of::<T>());
        Ok(Self {
            weak_references,
            dict,
            value,
            size: (value + size_of::<T>()).next_multiple_of(word),
        })
    }
}

impl Layout {
    /// Puts the value over the base's part, from `start` on, in place of what the base keeps there.
    pub(super) fn over<T>(base: &Bound<'_, PyType>, start: usize) -> PyResult<Self> {
        let basic_size: usize = base.getattr("__basicsize__")?.extract()?;
        let size = (start + size_of::<T>()).next_multiple_of(size_of::<usize>());
        Ok(Self {
            weak_references: None,
            dict: None,
            value: start,
            size: size.max(basic_size),
        })
    }
}
