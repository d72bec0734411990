//! What Python calls on pipe transports of both kinds.

use std::ffi::CStr;
use std::marker::PhantomData;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use super::{Pipe, Side};
use crate::ffi::{Attribute, Members, Settable, data, make};
use crate::transports::lifecycle::Transport;
use crate::transports::members::{boolean, missing, none, single};

/// Declares a [`FastMethod`](crate::ffi::FastMethod) of one kind of transport, or of each (`<S>`).
macro_rules! method {
    ($type:ident$(<$side:ident>)?, $receiver:ty, $name:literal, $signature:literal, $doc:literal, |$this:ident, $state:ident, $arguments:ident| $body:expr) => {
        struct $type$(<$side>(std::marker::PhantomData<$side>))?;

        impl$(<$side: $crate::transports::pipe::Side>)? $crate::ffi::FastMethod for $type$(<$side>)? {
            type Receiver = $receiver;
            const NAME: &'static std::ffi::CStr =
                $crate::ffi::text(concat!($name, "\0"));
            const DOC: &'static std::ffi::CStr = $crate::ffi::text(concat!($name, $signature, "\n--\n\n", $doc, "\0"));

            fn call<'py>(
                $this: &pyo3::Bound<'py, $receiver>,
                $arguments: $crate::ffi::Args<'_, 'py>,
            ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
                let $state = $crate::ffi::data($this).state($this.py())?;
                $body
            }
        }
    };
}

/// One that takes no arguments.
macro_rules! simple_method {
    ($type:ident$(<$side:ident>)?, $receiver:ty, $name:literal, $doc:literal, |$this:ident, $state:ident| $body:expr) => {
        method!($type$(<$side>)?, $receiver, $name, "($self)", $doc, |$this, $state, arguments| {
            arguments.expect($name, 0, 0)?;
            $body
        });
    };
}

pub(crate) use {method, simple_method};

/// What both kinds have.
pub(crate) fn members<S: Side>() -> Members {
    Members::default()
        .method::<IsClosing<S>>()
        .method::<SetProtocol<S>>()
        .method::<GetProtocol<S>>()
        .method::<GetExtraInfo<S>>()
        .attribute::<Loop<S>>()
        .attribute::<Fileno<S>>()
        .settable::<File<S>>()
}

simple_method!(
    IsClosing<S>,
    Pipe<S>,
    "is_closing",
    "Whether it is closed or about to be.",
    |this, state| Ok(boolean(this.py(), !state.life.is_open()))
);

method!(
    SetProtocol<S>,
    Pipe<S>,
    "set_protocol",
    "($self, protocol)",
    "Call `protocol` from now on.",
    |this, state, arguments| {
        state.set_protocol(&single(arguments, "set_protocol", "protocol")?)?;
        Ok(none(this.py()))
    }
);

simple_method!(
    GetProtocol<S>,
    Pipe<S>,
    "get_protocol",
    "The protocol that is called.",
    |this, state| Ok(state
        .life
        .protocol(this.py())
        .unwrap_or_else(|| none(this.py())))
);

method!(
    GetExtraInfo<S>,
    Pipe<S>,
    "get_extra_info",
    "($self, name, default=None)",
    "`pipe`, or what the maker of the transport added; else `default`.",
    |this, state, arguments| {
        let py = this.py();
        let [name, default] = arguments.named("get_extra_info", ["name", "default"])?;
        let name = name.ok_or_else(|| missing("get_extra_info", "name"))?;
        match state.extra(py).as_any().get_item(name) {
            Err(error) if error.is_instance_of::<PyKeyError>(py) => {
                Ok(default.map_or_else(|| none(py), Borrowed::to_owned))
            }
            found => found,
        }
    }
);

struct Loop<S>(PhantomData<S>);

impl<S: Side> Attribute for Loop<S> {
    type Receiver = Pipe<S>;
    const NAME: &'static CStr = c"_loop";

    fn get<'py>(this: &Bound<'py, Pipe<S>>) -> PyResult<Bound<'py, PyAny>> {
        Ok(data(this).core.bind(this.py()).as_any().clone())
    }
}

struct Fileno<S>(PhantomData<S>);

impl<S: Side> Attribute for Fileno<S> {
    type Receiver = Pipe<S>;
    const NAME: &'static CStr = c"_fileno";

    fn get<'py>(this: &Bound<'py, Pipe<S>>) -> PyResult<Bound<'py, PyAny>> {
        let state = data(this).state(this.py())?;
        Ok(make::signed(this.py(), state.life.fd)?.into_any())
    }
}

struct File<S>(PhantomData<S>);

impl<S: Side> Attribute for File<S> {
    type Receiver = Pipe<S>;
    const NAME: &'static CStr = c"_pipe";

    fn get<'py>(this: &Bound<'py, Pipe<S>>) -> PyResult<Bound<'py, PyAny>> {
        let state = data(this).state(this.py())?;
        Ok(state.pipe(this.py()).unwrap_or_else(|| none(this.py())))
    }
}

impl<S: Side> Settable for File<S> {
    fn set(this: &Bound<'_, Pipe<S>>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let state = data(this).state(this.py())?;
        state.set_pipe((!value.is_none()).then(|| value.clone()));
        Ok(())
    }
}
