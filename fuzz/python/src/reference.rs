//! References: `Py`, `Bound`, `Borrowed`. They are pointers, as PyO3's are.

use std::any::Any;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::error::{PyErr, PyResult};
use crate::ffi::PyObject;
use crate::object::{Class, Object, PyAny, PyInt, PyString, PyTuple, Value};
use crate::token::Python;

/// Owns one reference.
#[repr(transparent)]
pub struct Py<T>(NonNull<Object>, PhantomData<T>);

/// Owns one reference, while the thread is attached.
#[repr(transparent)]
pub struct Bound<'py, T>(Py<T>, PhantomData<Python<'py>>);

/// A reference that another owns.
pub struct Borrowed<'a, 'py, T>(&'a Bound<'py, T>);

// SAFETY: there is one thread; statics ask for these.
unsafe impl<T> Send for Py<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Py<T> {}

impl<T> Py<T> {
    /// Takes over a new reference.
    ///
    /// # Safety
    ///
    /// The caller owns it.
    unsafe fn owning(pointer: NonNull<Object>) -> Self {
        Self(pointer, PhantomData)
    }

    /// A new object of this value.
    pub fn of(value: Value) -> Self {
        // SAFETY: new.
        unsafe { Self::owning(Object::new(value)) }
    }

    /// A new object of a class of the caller's.
    pub fn new(value: T) -> Self
    where
        T: Any,
    {
        Self::of(Value::Other(Box::new(value)))
    }

    pub fn object(&self) -> &Object {
        // SAFETY: alive, because this owns a reference.
        unsafe { self.0.as_ref() }
    }

    pub fn references(&self) -> usize {
        self.object().references.get()
    }

    pub fn bind<'py>(&self, _py: Python<'py>) -> &Bound<'py, T> {
        // SAFETY: `Bound` is a `Py` with a mark.
        unsafe { &*(&raw const *self).cast() }
    }

    pub fn into_bound(self, _py: Python<'_>) -> Bound<'_, T> {
        Bound(self, PhantomData)
    }

    pub fn clone_ref(&self, _py: Python<'_>) -> Self {
        self.clone()
    }

    pub fn into_any(self) -> Py<PyAny> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the reference is not given up here.
        unsafe { Py::owning(this.0) }
    }
}

impl<T> Clone for Py<T> {
    fn clone(&self) -> Self {
        self.object().retain();
        // SAFETY: just made.
        unsafe { Self::owning(self.0) }
    }
}

impl<T> Drop for Py<T> {
    fn drop(&mut self) {
        // SAFETY: this owns one, and gives it up.
        unsafe { Object::release(self.0) };
    }
}

impl<T> std::fmt::Debug for Py<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:p}", self.0)
    }
}

impl<'py, T> Bound<'py, T> {
    /// # Safety
    ///
    /// A new reference that the caller gives up.
    pub unsafe fn from_owned_ptr(_py: Python<'py>, pointer: *mut PyObject) -> Self {
        let pointer = NonNull::new(pointer).expect("an object");
        // SAFETY: the caller's.
        Self(unsafe { Py::owning(pointer) }, PhantomData)
    }

    /// # Safety
    ///
    /// A new reference that the caller gives up, or null with an exception set.
    pub unsafe fn from_owned_ptr_or_err(py: Python<'py>, pointer: *mut PyObject) -> PyResult<Self> {
        if pointer.is_null() {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: the caller's.
        Ok(unsafe { Self::from_owned_ptr(py, pointer) })
    }

    /// # Safety
    ///
    /// Alive for `'a`.
    pub unsafe fn ref_from_ptr<'a>(_py: Python<'py>, pointer: &'a *mut PyObject) -> &'a Self {
        assert!(!pointer.is_null(), "an object");
        // SAFETY: a reference is such a pointer.
        unsafe { &*(&raw const *pointer).cast() }
    }

    pub fn py(&self) -> Python<'py> {
        Python::token()
    }

    pub fn as_unbound(&self) -> &Py<T> {
        &self.0
    }

    pub fn unbind(self) -> Py<T> {
        self.0
    }

    pub fn as_ptr(&self) -> *mut PyObject {
        self.0.0.as_ptr()
    }

    pub fn into_ptr(self) -> *mut PyObject {
        ManuallyDrop::new(self).as_ptr()
    }

    pub fn as_any(&self) -> &Bound<'py, PyAny> {
        // SAFETY: any object is one.
        unsafe { self.cast_unchecked() }
    }

    pub fn into_any(self) -> Bound<'py, PyAny> {
        Bound(self.0.into_any(), PhantomData)
    }

    pub fn as_borrowed(&self) -> Borrowed<'_, 'py, T> {
        Borrowed(self)
    }

    /// # Safety
    ///
    /// The object is a `U`.
    pub unsafe fn cast_unchecked<U>(&self) -> &Bound<'py, U> {
        // SAFETY: both are pointers to any object.
        unsafe { &*(&raw const *self).cast() }
    }

    /// # Safety
    ///
    /// The object is a `U`.
    pub unsafe fn cast_into_unchecked<U>(self) -> Bound<'py, U> {
        let pointer = NonNull::new(self.into_ptr()).expect("an object");
        // SAFETY: the reference of `self`.
        Bound(unsafe { Py::owning(pointer) }, PhantomData)
    }

    /// Casts to a class that the stand-in knows.
    pub fn cast_exact<U: Class>(&self) -> Result<&Bound<'py, U>, OfAnotherClass> {
        U::of(&self.0.object().value).ok_or(OfAnotherClass)?;
        // SAFETY: just looked.
        Ok(unsafe { self.cast_unchecked() })
    }

    /// The value of an object of the caller's class `U`.
    pub fn get<U: Any>(&self) -> Option<&U> {
        match &self.0.object().value {
            Value::Other(value) => value.downcast_ref(),
            _ => None,
        }
    }

    pub fn getattr_opt(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.0.object().attribute(name);
        Ok(found.map(|found| found.into_bound(self.py())))
    }

    pub fn setattr(
        &self,
        name: &'static str,
        value: impl std::borrow::Borrow<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        self.0
            .object()
            .set_attribute(name, value.borrow().0.clone());
        Ok(())
    }
}

/// Why an object cannot be cast.
#[derive(Debug)]
pub struct OfAnotherClass;

/// What an object of a known class is.
fn value<'a, T: Class>(this: &'a Bound<'_, T>) -> &'a T::Value {
    T::of(&this.0.object().value).expect("an object of its class")
}

impl<'py> Bound<'py, PyTuple> {
    pub fn as_slice(&self) -> &[Bound<'py, PyAny>] {
        value(self)
    }
}

impl Bound<'_, PyString> {
    pub fn to_str(&self) -> PyResult<&str> {
        Ok(value(self))
    }
}

impl Bound<'_, PyInt> {
    pub fn extract<N: TryFrom<i128>>(&self) -> Result<N, N::Error> {
        N::try_from(*value(self))
    }
}

impl Bound<'_, crate::object::PyBytes> {
    pub fn as_bytes(&self) -> &[u8] {
        value(self)
    }
}

impl<T> Clone for Bound<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T> std::fmt::Debug for Bound<'_, T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<'py, T> Borrowed<'_, 'py, T> {
    pub fn to_owned(self) -> Bound<'py, T> {
        self.0.clone()
    }
}

impl<T> Clone for Borrowed<'_, '_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Borrowed<'_, '_, T> {}

/// `pyo3::BoundObject`.
pub trait BoundObject<'py, T> {
    type Any: BoundObject<'py, PyAny>;

    fn into_any(self) -> Self::Any;
    fn into_bound(self) -> Bound<'py, T>;
}

impl<'py, T> BoundObject<'py, T> for Bound<'py, T> {
    type Any = Bound<'py, PyAny>;

    fn into_any(self) -> Bound<'py, PyAny> {
        Bound::into_any(self)
    }

    fn into_bound(self) -> Bound<'py, T> {
        self
    }
}

/// `pyo3::IntoPyObject`.
pub trait IntoPyObject<'py> {
    type Target;
    type Output: BoundObject<'py, Self::Target>;
    type Error: Into<PyErr>;

    /// The object, or why there is none.
    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error>;
}

impl<'py> IntoPyObject<'py> for i128 {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyInt>> {
        Ok(Py::of(Value::Int(self)).into_bound(py))
    }
}
