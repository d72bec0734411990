//! The Python methods of pipe transports of both kinds.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use super::{Pipe, Side};
use crate::ffi::{Members, data, make, members, settable};
use crate::transports::lifecycle::Transport;
use crate::transports::members::{attribute, method, none, single};
use crate::transports::shared_methods::{GetProtocol, IsClosing, Loop, extra_arguments};

type This<S> = Pipe<S>;

/// The methods that both kinds have.
pub(crate) fn members<S: Side>() -> Members {
    members!(Members::default();
        methods: IsClosing<Pipe<S>>, SetProtocol<S>, GetProtocol<Pipe<S>>, GetExtraInfo<S>;
        attributes: Loop<Pipe<S>>, Fileno<S>;
        settables: File<S>)
}

method!(
    SetProtocol<S: Side>,
    "set_protocol",
    "($self, protocol)",
    "Call `protocol` from now on.",
    |this, state, arguments| state.set_protocol(&single(arguments, "set_protocol", "protocol")?)
);

method!(
    GetExtraInfo<S: Side>,
    "get_extra_info",
    "($self, name, default=None)",
    "`pipe`, or what the maker of the transport added; else `default`.",
    |this, state, arguments| {
        let py = this.py();
        let (name, default) = extra_arguments(arguments)?;
        match state.extra(py).as_any().get_item(name) {
            Err(error) if error.is_instance_of::<PyKeyError>(py) => Ok(default),
            found => found,
        }
    }
);

attribute!(Fileno<S: Side>, c"_fileno", |this, state| {
    Ok(make::signed(this.py(), state.life.fd)?.into_any())
});

settable!(
    File<S: Side>,
    c"_pipe",
    |this, state| Ok(state.pipe(this.py()).unwrap_or_else(|| none(this.py()))),
    |this, value| {
        let state = data(this).state(this.py())?;
        state.set_pipe((!value.is_none()).then(|| value.clone()));
        Ok(())
    }
);
