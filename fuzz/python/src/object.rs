//! Objects: a count of references, a value and attributes.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use crate::reference::{Bound, Py};

/// `PyObject`.
pub struct Object {
    pub(crate) references: Cell<usize>,
    pub value: Value,
    attributes: RefCell<Vec<(&'static str, Py<PyAny>)>>,
}

/// What an object is.
pub enum Value {
    None,
    Int(i128),
    Str(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Bound<'static, PyAny>>),
    Type(&'static str),
    Capsule(&'static CStr, *mut c_void),
    Error(&'static str, Vec<Py<PyAny>>),
    Other(Box<dyn Any>),
}

/// Any object.
pub struct PyAny;

/// A class that the stand-in knows, and its value in an object.
pub trait Class {
    type Value: ?Sized;

    fn of(value: &Value) -> Option<&Self::Value>;
}

macro_rules! classes {
    ($($name:ident: $kind:ident($value:ty);)*) => {
        $(
            pub struct $name;

            impl Class for $name {
                type Value = $value;

                fn of(value: &Value) -> Option<&$value> {
                    match value {
                        Value::$kind(value) => Some(value),
                        _ => None,
                    }
                }
            }
        )*
    };
}

classes! {
    PyInt: Int(i128);
    PyString: Str(str);
    PyBytes: Bytes([u8]);
    PyTuple: Tuple([Bound<'static, PyAny>]);
    PyType: Type(str);
}

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

/// The number of objects that were not freed.
pub fn live() -> usize {
    LIVE.get()
}

/// Counts an object no more: the process keeps it.
pub fn keep<T>(_kept: &Py<T>) {
    LIVE.set(LIVE.get() - 1);
}

impl Object {
    /// A new object with one reference.
    pub(crate) fn new(value: Value) -> NonNull<Self> {
        LIVE.set(LIVE.get() + 1);
        NonNull::from(Box::leak(Box::new(Self {
            references: Cell::new(1),
            value,
            attributes: RefCell::default(),
        })))
    }

    pub(crate) fn retain(&self) {
        self.references.set(self.references.get() + 1);
    }

    /// Gives one reference up.
    ///
    /// # Safety
    ///
    /// The caller owns that reference.
    pub(crate) unsafe fn release(this: NonNull<Self>) {
        // SAFETY: alive, because the caller owns a reference.
        let references = unsafe { &this.as_ref().references };
        references.set(references.get() - 1);
        if references.get() == 0 {
            LIVE.set(LIVE.get() - 1);
            // SAFETY: made by `new`; that was the last reference.
            drop(unsafe { Box::from_raw(this.as_ptr()) });
        }
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<Py<PyAny>> {
        let attributes = self.attributes.borrow();
        let found = attributes.iter().find(|(known, _)| *known == name)?;
        Some(found.1.clone())
    }

    pub(crate) fn set_attribute(&self, name: &'static str, value: Py<PyAny>) {
        let mut attributes = self.attributes.borrow_mut();
        attributes.retain(|(known, _)| *known != name);
        attributes.push((name, value));
    }
}
