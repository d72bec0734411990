//! The Python methods and attributes that transports over a descriptor have in common.

use pyo3::prelude::*;

use super::lifecycle::Transport;
use super::members::{attribute, method, none};
use crate::ffi::data;

type This<T> = T;

method!(
    GetProtocol<T: Transport>,
    "get_protocol",
    "The current protocol.",
    |this, state| Ok(T::life(&state).protocol(this.py()).unwrap_or_else(|| none(this.py())))
);

method!(
    IsClosing<T: Transport>,
    "is_closing",
    "Whether the transport is closing or closed.",
    |_this, state| Ok(!T::life(&state).is_open())
);

attribute!(Loop<T: Transport>, c"_loop", |this| {
    Ok(data(this).core().bind(this.py()).as_any().clone())
});
