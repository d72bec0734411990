//! The arguments of one call.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::names::name;
use super::reference::{counted, new_reference, returned};

/// The arguments of one call, borrowed from the caller.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a, 'py> {
    py: Python<'py>,
    positional: &'a [*mut ffi::PyObject],
    /// The keyword values, which follow the positional ones, in the order of `names`.
    values: &'a [*mut ffi::PyObject],
    /// A tuple of `str`, or null.
    names: *mut ffi::PyObject,
}

impl<'a, 'py> Args<'a, 'py> {
    /// Reads the arguments of a call, as the interpreter passes them to a C function.
    ///
    /// # Safety
    ///
    /// The values come from a call by the vectorcall protocol: `names` is null or a tuple of `str`, and `arguments`
    /// holds `count` positional arguments and then one value for each name; all are alive for `'a`.
    #[inline]
    pub(super) unsafe fn new(
        py: Python<'py>,
        arguments: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        let count = count.cast_unsigned();
        let keywords = if names.is_null() {
            0
        } else {
            // SAFETY: guaranteed by the caller: a tuple.
            unsafe { ffi::PyTuple_GET_SIZE(names) }.cast_unsigned()
        };
        let all = if count + keywords == 0 {
            &[]
        } else {
            // SAFETY: guaranteed by the caller: so many objects are there.
            unsafe { std::slice::from_raw_parts(arguments, count + keywords) }
        };
        let (positional, values) = all.split_at(count);
        Self {
            py,
            positional,
            values,
            names,
        }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    /// The number of positional arguments.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.positional.len()
    }

    /// The positional argument at `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        let pointer = *self.positional.get(index)?;
        // SAFETY: attached; the interpreter keeps every argument alive for the length of the call.
        Some(unsafe { Borrowed::from_ptr(self.py, pointer) })
    }

    /// The positional arguments from `start` on, as the interpreter passed them.
    #[inline]
    pub(super) fn raw_from(&self, start: usize) -> &'a [*mut ffi::PyObject] {
        self.positional.get(start..).unwrap_or_default()
    }

    /// Whether the call has keyword arguments.
    #[inline]
    pub(crate) fn has_keywords(&self) -> bool {
        !self.values.is_empty()
    }

    /// The value of the keyword argument `name`, if it is the only one.
    #[inline]
    pub(crate) fn single_keyword(
        &self,
        name: &Bound<'py, PyString>,
    ) -> Option<Borrowed<'a, 'py, PyAny>> {
        let [value] = self.values else { return None };
        // SAFETY: `names` is a tuple with one `str` for the one value, alive for the call.
        let given = unsafe { ffi::PyTuple_GET_ITEM(self.names, 0) };
        // The names in a program's source are interned, too.
        if given != name.as_ptr() {
            // SAFETY: as above: a live `str`.
            let given = unsafe { string(self.py, given) };
            if !is_same(self.py, given, name) {
                return None;
            }
        }
        // SAFETY: attached; the interpreter keeps every argument alive for the length of the call.
        Some(unsafe { Borrowed::from_ptr(self.py, *value) })
    }

    /// The value of the keyword argument `context`, if it is the only one.
    #[inline]
    pub(crate) fn only_context(&self) -> Option<Borrowed<'a, 'py, PyAny>> {
        let [value] = self.values else { return None };
        // SAFETY: `names` is a tuple with one `str` for the one value, alive for the call.
        let given = unsafe { ffi::PyTuple_GET_ITEM(self.names, 0) };
        let is_known = given == name!(self.py, "context").as_ptr()
            || self.names == ASYNCIOS_CONTEXT.load(Ordering::Relaxed);
        if !is_known && !self.is_context_by_text() {
            return None;
        }
        // SAFETY: attached; the interpreter keeps every argument alive for the length of the call.
        Some(unsafe { Borrowed::from_ptr(self.py, *value) })
    }

    /// Whether the one keyword has the text `context`, in a `str` that is not interned. Keeps the names of the first
    /// such call.
    #[cold]
    fn is_context_by_text(&self) -> bool {
        if self.single_keyword(name!(self.py, "context")).is_none() {
            return false;
        }
        let order = Ordering::Relaxed;
        let kept = ASYNCIOS_CONTEXT.compare_exchange(ptr::null_mut(), self.names, order, order);
        if kept.is_ok() {
            // Never released: the address stays that of this tuple.
            // SAFETY: attached; the tuple is alive for the call.
            unsafe { new_reference(self.names) };
        }
        true
    }

    /// Whether every keyword is one of `names`, in the very object that a program's source has. For any other `str`
    /// this is `false`, even one with the same text.
    #[inline]
    pub(crate) fn has_only_keywords<const N: usize>(
        &self,
        names: [&Bound<'py, PyString>; N],
    ) -> bool {
        (0..).zip(self.values).all(|(index, _)| {
            // SAFETY: `names` is a tuple with a `str` for each of `values`, alive for the call.
            let given = unsafe { ffi::PyTuple_GET_ITEM(self.names, index) };
            names.iter().any(|name| name.as_ptr() == given)
        })
    }

    /// Calls `callable` with the same arguments.
    pub(crate) fn pass_on(self, callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (start, count) = (self.positional.as_ptr(), self.positional.len());
        // SAFETY: attached; the interpreter keeps every argument alive for the length of the call, and passed them in
        // this form.
        let result =
            unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), start, count, self.names) };
        // SAFETY: attached; a new reference, or null with an exception set.
        unsafe { returned(self.py, result) }
    }

    /// The name and value of each keyword argument.
    pub(crate) fn keywords(
        self,
    ) -> impl Iterator<Item = (Borrowed<'a, 'py, PyString>, Borrowed<'a, 'py, PyAny>)> {
        (0..).zip(self.values).map(move |(index, value)| {
            // SAFETY: `names` is a tuple with a `str` for each of `values`, alive for the call.
            let name = unsafe { ffi::PyTuple_GET_ITEM(self.names, index) };
            // SAFETY: as above: a live `str`.
            let name = unsafe { string(self.py, name) };
            // SAFETY: attached; the interpreter keeps every argument alive for the length of the call.
            (name, unsafe { Borrowed::from_ptr(self.py, *value) })
        })
    }

    /// Arguments by position or by name, in the order of `names`.
    pub(crate) fn named<const N: usize>(
        self,
        method: &str,
        names: [&str; N],
    ) -> PyResult<[Option<Borrowed<'a, 'py, PyAny>>; N]> {
        if self.len() > N {
            return Err(PyTypeError::new_err(format!(
                "{method}() takes at most {N} arguments ({} given)",
                self.len()
            )));
        }
        let mut values = std::array::from_fn(|index| self.get(index));
        for (keyword, value) in self.keywords() {
            match names.iter().position(|name| keyword == *name) {
                Some(index) if values[index].is_none() => values[index] = Some(value),
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "{method}() got an unexpected keyword argument '{}'",
                        &*keyword
                    )));
                }
            }
        }
        Ok(values)
    }

    /// Rejects keyword arguments, and fewer than `least` or more than `most` positional ones.
    pub(crate) fn expect(&self, name: &str, least: usize, most: usize) -> PyResult<()> {
        if self.has_keywords() {
            return Err(PyTypeError::new_err(format!(
                "{name}() takes no keyword arguments"
            )));
        }
        let given = self.len();
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let takes = if least == most {
            format!("{most}")
        } else {
            format!("from {least} to {most}")
        };
        Err(PyTypeError::new_err(format!(
            "{name}() takes {takes} positional arguments but {given} were given"
        )))
    }
}

/// The tuple `("context",)` that asyncio's C code passes for each step of a task, with a `str` of its own that is not
/// interned; null until it was seen. Only its address is used, so Relaxed.
static ASYNCIOS_CONTEXT: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

/// The error for a missing argument.
pub(crate) fn missing(method: &str, argument: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{method}() missing 1 required positional argument: '{argument}'"
    ))
}

/// Whether the keyword of a call is `name`.
#[cold]
fn is_same(_py: Python<'_>, given: Borrowed<'_, '_, PyString>, name: &Bound<'_, PyString>) -> bool {
    match (given.to_str(), name.to_str()) {
        (Ok(given), Ok(name)) => given == name,
        (Err(error), _) | (_, Err(error)) => {
            // It is not the name of any parameter.
            // SAFETY: attached by `_py`.
            unsafe { counted(|_| drop(error)) };
            false
        }
    }
}

/// # Safety
///
/// `pointer` is a `str` that is alive for `'a`.
unsafe fn string<'a>(py: Python<'_>, pointer: *mut ffi::PyObject) -> Borrowed<'a, '_, PyString> {
    // SAFETY: guaranteed by the caller.
    let object = unsafe { Borrowed::from_ptr(py, pointer) };
    // SAFETY: guaranteed by the caller.
    unsafe { object.cast_unchecked() }
}
