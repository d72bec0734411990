//! Exceptions, and the one that is set.

use std::cell::RefCell;

use crate::object::{PyAny, PyType, Value};
use crate::reference::{Bound, Py};
use crate::token::{Python, is_attached};

/// `pyo3::PyResult`.
pub type PyResult<T> = Result<T, PyErr>;

/// `pyo3::PyErr`.
#[derive(Debug)]
pub struct PyErr(Py<PyAny>);

thread_local! {
    static SET: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

impl PyErr {
    fn new(class: &'static str, arguments: impl Arguments) -> Self {
        Self(Py::of(Value::Error(class, arguments.objects())))
    }

    pub fn from_type(class: Bound<'_, PyType>, arguments: impl Arguments) -> Self {
        match class.as_unbound().object().value {
            Value::Type(name) => Self::new(name, arguments),
            _ => panic!("a class"),
        }
    }

    pub fn value<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.bind(py)
    }

    pub fn is_instance(&self, _py: Python<'_>, class: &Bound<'_, PyType>) -> bool {
        matches!(class.as_unbound().object().value, Value::Type(name) if name == self.class())
    }

    /// The name of its class.
    pub fn class(&self) -> &'static str {
        self.parts().0
    }

    pub fn arguments(&self) -> &[Py<PyAny>] {
        self.parts().1
    }

    fn parts(&self) -> (&'static str, &[Py<PyAny>]) {
        match &self.0.object().value {
            Value::Error(class, arguments) => (class, arguments),
            _ => panic!("an exception"),
        }
    }

    /// Sets it; another must not be set.
    pub fn restore(self, _py: Python<'_>) {
        assert!(is_attached(), "an exception is set on a detached thread");
        let before = SET.replace(Some(self));
        assert!(before.is_none(), "an exception is replaced: {before:?}");
    }

    pub fn take(_py: Python<'_>) -> Option<Self> {
        SET.take()
    }

    pub fn fetch(py: Python<'_>) -> Self {
        Self::take(py).expect("an exception is set")
    }
}

/// The arguments of an exception.
pub trait Arguments {
    fn objects(self) -> Vec<Py<PyAny>>;
}

impl Arguments for () {
    fn objects(self) -> Vec<Py<PyAny>> {
        Vec::new()
    }
}

impl Arguments for String {
    fn objects(self) -> Vec<Py<PyAny>> {
        vec![Py::of(Value::Str(self))]
    }
}

impl Arguments for &str {
    fn objects(self) -> Vec<Py<PyAny>> {
        self.to_owned().objects()
    }
}

impl Arguments for (&str, usize) {
    fn objects(self) -> Vec<Py<PyAny>> {
        let number = Py::of(Value::Int(self.1 as i128));
        vec![Py::of(Value::Str(self.0.to_owned())), number]
    }
}

impl Arguments for (Py<PyAny>, Option<usize>) {
    fn objects(self) -> Vec<Py<PyAny>> {
        let number = self
            .1
            .map_or(Value::None, |number| Value::Int(number as i128));
        vec![self.0, Py::of(number)]
    }
}

macro_rules! classes {
    ($($name:ident: $text:literal;)*) => {
        $(
            pub struct $name;

            impl $name {
                pub fn new_err(arguments: impl Arguments) -> PyErr {
                    PyErr::new($text, arguments)
                }
            }
        )*
    };
}

classes! {
    PyRuntimeError: "RuntimeError";
    PySystemError: "SystemError";
    PyValueError: "ValueError";
    PyMemoryError: "MemoryError";
}
