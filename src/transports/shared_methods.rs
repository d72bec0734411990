//! The Python methods and attributes that transports over a descriptor have in common.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::lifecycle::Transport;
use super::members::{attribute, method, none};
use crate::ffi::{Args, data, make, missing};

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

/// The member `name` of the enumeration that tells `loop.sendfile()` how to send; `cell` caches it.
pub(super) fn sendfile_mode<'py>(
    cell: &'static PyOnceLock<Py<PyAny>>,
    py: Python<'py>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let mode = cell.get_or_try_init(py, || {
        let modes = make::import(py, "asyncio.constants", "_SendfileMode")?;
        modes.getattr(make::string(py, name)?).map(Bound::unbind)
    })?;
    Ok(mode.bind(py).clone())
}

/// The name and the default that `get_extra_info()` is called with.
pub(super) fn extra_arguments<'a, 'py>(
    arguments: Args<'a, 'py>,
) -> PyResult<(Borrowed<'a, 'py, PyAny>, Bound<'py, PyAny>)> {
    let [name, default] = arguments.named("get_extra_info", ["name", "default"])?;
    let name = name.ok_or_else(|| missing("get_extra_info", "name"))?;
    let default = default.map_or_else(|| none(arguments.py()), Borrowed::to_owned);
    Ok((name, default))
}
