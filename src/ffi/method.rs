//! Methods and attributes that are called without an argument tuple (`METH_FASTCALL | METH_KEYWORDS`).
//!
//! A call of a `#[pymethods]` function with `*args` costs 63-93 ns, a call of one of these 26-33 ns.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::args::Args;
use super::make;
pub(super) use super::panics::panicked;
use super::panics::raise;
use super::reference::{borrowed, counted, returned};

/// A name or a text in the interpreter's format, checked at compile time. The only zero byte of `text` is its last.
pub(crate) const fn text(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("ends with its only zero byte"),
    }
}

/// A method of the class whose instances are `Receiver`s.
pub(crate) trait FastMethod {
    type Receiver;
    const NAME: &'static CStr;
    /// The documentation, after the signature line that `inspect` reads.
    const DOC: &'static CStr;
    /// Whether calls skip `counted`, which lets PyO3 know that the thread is attached. The saving shows in methods
    /// that are called very often, also while no loop runs on the thread. Such a method must not drop a `Py` or an
    /// error itself; its result is passed on without PyO3.
    const IS_LIGHT: bool = false;

    fn call<'py>(
        this: &Bound<'py, Self::Receiver>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>>;
}

/// A read-only attribute of the class whose instances are `Receiver`s.
pub(crate) trait Attribute {
    type Receiver;
    const NAME: &'static CStr;

    fn get<'py>(this: &Bound<'py, Self::Receiver>) -> PyResult<Bound<'py, PyAny>>;
}

/// An attribute that may also be written.
pub(crate) trait Settable: Attribute {
    fn set(this: &Bound<'_, Self::Receiver>, value: &Bound<'_, PyAny>) -> PyResult<()>;

    fn delete(_this: &Bound<'_, Self::Receiver>) -> PyResult<()> {
        Err(PyTypeError::new_err("cannot delete this attribute"))
    }
}

/// Declares a [`FastMethod`] of the class that the file calls `This`: its type, its Python name, the signature if it
/// takes arguments, one line of documentation, and the body.
///
/// A body gets `this`, then `state` if it names one (the class's `state` method returns it), then `arguments` if
/// there is a signature. `Type<S: Bound>` declares a method of a generic `This<S>`.
macro_rules! method {
    (@ $light:literal $type:ident $(<$of:ident: $bound:ident>)?, $name:literal, $doc:literal,
     |$this:ident $(, $state:ident)?| $body:expr) => {
        $crate::ffi::method!(@ $light $type $(<$of: $bound>)?, $name, "($self)", $doc,
            |$this, $($state,)? arguments| {
                arguments.expect($name, 0, 0)?;
                $body
            });
    };
    (@ $light:literal $type:ident $(<$of:ident: $bound:ident>)?, $name:literal, $signature:literal, $doc:literal,
     |$this:ident, $state:ident, $arguments:ident| $body:expr) => {
        $crate::ffi::method!(@ $light $type $(<$of: $bound>)?, $name, $signature, $doc,
            |$this, $arguments| {
                let $state = $crate::ffi::data($this).state($this.py())?;
                $body
            });
    };
    (@ $light:literal $type:ident $(<$of:ident: $bound:ident>)?, $name:literal, $signature:literal, $doc:literal,
     |$this:ident, $arguments:ident| $body:expr) => {
        pub(crate) struct $type $(<$of>(std::marker::PhantomData<$of>))?;

        impl $(<$of: $bound>)? $crate::ffi::FastMethod for $type $(<$of>)? {
            type Receiver = This $(<$of>)?;
            const NAME: &'static std::ffi::CStr = $crate::ffi::text(concat!($name, "\0"));
            const DOC: &'static std::ffi::CStr =
                $crate::ffi::text(concat!($name, $signature, "\n--\n\n", $doc, "\0"));
            const IS_LIGHT: bool = $light;

            fn call<'py>(
                $this: &Bound<'py, Self::Receiver>,
                $arguments: $crate::ffi::Args<'_, 'py>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let py = $arguments.py();
                let body = || $body;
                let returned: PyResult<_> = body();
                returned.map(|value| $crate::ffi::IntoReturned::into_returned(value, py))
            }
        }
    };
    ($type:ident $($rest:tt)+) => {
        $crate::ffi::method!(@ false $type $($rest)+);
    };
}

/// Like `method!`, with [`FastMethod::IS_LIGHT`].
macro_rules! light_method {
    ($($rest:tt)+) => {
        $crate::ffi::method!(@ true $($rest)+);
    };
}

/// Declares an [`Attribute`] of `This` with its Python name. The body gets `this`, then `state` if it names one.
macro_rules! attribute {
    ($type:ident $(<$of:ident: $bound:ident>)?, $name:literal, |$this:ident, $state:ident| $body:expr) => {
        $crate::ffi::attribute!($type $(<$of: $bound>)?, $name, |$this| {
            let $state = $crate::ffi::data($this).state($this.py())?;
            $body
        });
    };
    ($type:ident $(<$of:ident: $bound:ident>)?, $name:literal, |$this:ident| $body:expr) => {
        pub(crate) struct $type $(<$of>(std::marker::PhantomData<$of>))?;

        impl $(<$of: $bound>)? $crate::ffi::Attribute for $type $(<$of>)? {
            type Receiver = This $(<$of>)?;
            const NAME: &'static std::ffi::CStr = $name;

            fn get<'py>($this: &Bound<'py, Self::Receiver>) -> PyResult<Bound<'py, PyAny>> {
                let py = $this.py();
                let body = || $body;
                let value: PyResult<_> = body();
                value.map(|value| $crate::ffi::IntoReturned::into_returned(value, py))
            }
        }
    };
}

/// Declares a [`Settable`] in the same way; a second body sets it, and a third one deletes it.
macro_rules! settable {
    ($type:ident $(<$of:ident: $bound:ident>)?, $name:literal, |$($getter:ident),+| $get:expr,
     |$this:ident, $value:ident| $set:expr $(, |$object:ident| $delete:expr)?) => {
        $crate::ffi::attribute!($type $(<$of: $bound>)?, $name, |$($getter),+| $get);

        impl $(<$of: $bound>)? $crate::ffi::Settable for $type $(<$of>)? {
            fn set($this: &Bound<'_, Self::Receiver>, $value: &Bound<'_, PyAny>) -> PyResult<()> {
                $set
            }

            $(
                fn delete($object: &Bound<'_, Self::Receiver>) -> PyResult<()> {
                    $delete
                }
            )?
        }
    };
}

/// Adds to `Members` what was declared with the macros above.
macro_rules! members {
    ($members:expr $(; methods: $($method:ty),+)? $(; attributes: $($attribute:ty),+)?
     $(; settables: $($settable:ty),+)?) => {
        $members
            $($(.method::<$method>())+)?
            $($(.attribute::<$attribute>())+)?
            $($(.settable::<$settable>())+)?
    };
}

pub(crate) use {attribute, light_method, members, method, settable};

/// What the body of a method or attribute may return: an object, `()` for `None`, or a truth value.
pub(crate) trait IntoReturned<'py> {
    fn into_returned(self, py: Python<'py>) -> Bound<'py, PyAny>;
}

impl<'py> IntoReturned<'py> for Bound<'py, PyAny> {
    #[inline]
    fn into_returned(self, _py: Python<'py>) -> Bound<'py, PyAny> {
        self
    }
}

impl<'py> IntoReturned<'py> for () {
    #[inline]
    fn into_returned(self, py: Python<'py>) -> Bound<'py, PyAny> {
        make::none(py)
    }
}

impl<'py> IntoReturned<'py> for bool {
    #[inline]
    fn into_returned(self, py: Python<'py>) -> Bound<'py, PyAny> {
        make::boolean(py, self)
    }
}

/// Methods and attributes of one class, collected before it is created.
#[derive(Default)]
pub(crate) struct Members {
    pub(super) methods: Vec<ffi::PyMethodDef>,
    pub(super) attributes: Vec<ffi::PyGetSetDef>,
    /// The slots that operators call.
    pub(super) slots: Vec<ffi::PyType_Slot>,
}

impl Members {
    /// Adds the method `M`.
    pub(crate) fn method<M: FastMethod>(mut self) -> Self {
        self.methods.push(definition::<M>());
        self
    }

    /// Adds the read-only attribute `A`.
    pub(crate) fn attribute<A: Attribute>(mut self) -> Self {
        self.attributes.push(ffi::PyGetSetDef {
            name: A::NAME.as_ptr(),
            get: Some(get::<A>),
            set: None,
            doc: ptr::null(),
            closure: ptr::null_mut(),
        });
        self
    }

    /// Adds the writable attribute `A`.
    pub(crate) fn settable<A: Settable>(self) -> Self {
        let mut members = self.attribute::<A>();
        if let Some(attribute) = members.attributes.last_mut() {
            attribute.set = Some(set::<A>);
        }
        members
    }
}

/// Adds `M` to a class made with `#[pyclass]`.
pub(crate) fn add_fast_method<M: FastMethod>(class: &Bound<'_, PyType>) -> PyResult<()> {
    // The interpreter keeps a pointer to the definition, which is made once per class and never freed.
    let definition = Box::leak(Box::new(definition::<M>()));
    // SAFETY: attached; `class` is a live type whose instances are `M::Receiver`s, and the definition is never freed.
    let made = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
    // SAFETY: attached; a new reference, or null with an exception set.
    let descriptor = unsafe { returned(class.py(), made) }?;
    class.setattr(
        super::make::string(class.py(), &M::NAME.to_string_lossy())?,
        descriptor,
    )
}

/// Adds the writable attribute `A` to a class that already exists.
pub(crate) fn add_fast_attribute<A: Settable>(class: &Bound<'_, PyType>) -> PyResult<()> {
    // As above: made once per class and never freed.
    let definition = Box::leak(Box::new(ffi::PyGetSetDef {
        name: A::NAME.as_ptr(),
        get: Some(get::<A>),
        set: Some(set::<A>),
        doc: ptr::null(),
        closure: ptr::null_mut(),
    }));
    // SAFETY: attached; `class` is a live type whose instances are `A::Receiver`s, and the definition is never freed.
    let made = unsafe { ffi::PyDescr_NewGetSet(class.as_type_ptr(), definition) };
    // SAFETY: attached; a new reference, or null with an exception set.
    let descriptor = unsafe { returned(class.py(), made) }?;
    class.setattr(
        super::make::string(class.py(), &A::NAME.to_string_lossy())?,
        descriptor,
    )
}

fn definition<M: FastMethod>() -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: M::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: call::<M>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: M::DOC.as_ptr(),
    }
}

/// The C function that the interpreter calls.
unsafe extern "C" fn call<M: FastMethod>(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let call = |py: Python<'_>| {
        // SAFETY: the method descriptor has checked that `this` is an instance of its class.
        let this = unsafe { borrowed::<M::Receiver>(py, &this) };
        // SAFETY: these are the arguments of this call, as the vectorcall protocol passes them.
        let arguments = unsafe { Args::new(py, arguments, count, names) };
        guarded(py, || M::call(this, arguments))
    };
    if M::IS_LIGHT {
        // SAFETY: the interpreter calls methods while attached.
        return call(unsafe { Python::assume_attached() });
    }
    // SAFETY: as above.
    unsafe { counted(call) }
}

unsafe extern "C" fn get<A: Attribute>(
    this: *mut ffi::PyObject,
    _closure: *mut c_void,
) -> *mut ffi::PyObject {
    let get = |py: Python<'_>| {
        // SAFETY: the descriptor has checked that `this` is an instance of its class.
        let this = unsafe { borrowed::<A::Receiver>(py, &this) };
        guarded(py, || A::get(this))
    };
    // SAFETY: the interpreter reads attributes while attached.
    unsafe { counted(get) }
}

unsafe extern "C" fn set<A: Settable>(
    this: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _closure: *mut c_void,
) -> c_int {
    let set = |py: Python<'_>| {
        // SAFETY: the descriptor has checked that `this` is an instance of its class.
        let this = unsafe { borrowed::<A::Receiver>(py, &this) };
        // SAFETY: attached; a live object, or null when the attribute is to be deleted.
        let value = unsafe { Borrowed::from_ptr_or_opt(py, value) };
        guarded(py, || {
            match value {
                Some(value) => A::set(this, &value)?,
                None => A::delete(this)?,
            }
            Ok(py.None().into_bound(py))
        })
    };
    // SAFETY: the interpreter writes attributes while attached.
    let done = unsafe { counted(set) };
    if done.is_null() {
        return -1;
    }
    // SAFETY: attached; the new reference to `None` that the call above returned.
    unsafe { ffi::Py_DECREF(done) };
    0
}

/// Returns a new reference, or null with the exception set. A panic also becomes an exception.
#[inline]
pub(super) fn guarded<'py>(
    _py: Python<'py>,
    call: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    let error = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(object)) => return object.into_ptr(),
        Ok(Err(error)) => error,
        Err(panic) => panicked(&*panic),
    };
    // SAFETY: attached by `_py`.
    unsafe { counted(|py| raise(py, error)) };
    ptr::null_mut()
}
