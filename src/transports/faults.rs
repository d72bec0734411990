//! Faults that `yamanote.testing.faults` injects: Python's `_faults` chooses them.

use std::io;
use std::num::NonZeroUsize;

use pyo3::prelude::*;

use crate::ffi::{call, make, name};
use crate::scheduler::Core;

/// What becomes of a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It ends after so many bytes.
    Piece(NonZeroUsize),
    /// It comes later: Python's `_faults` has it tried again.
    Late,
    /// The peer has reset the connection.
    Reset,
}

/// Asks what becomes of a read, or with `sends` of a write, of `size` bytes.
#[cold]
pub(super) fn of_transfer(
    core: &Bound<'_, Core>,
    transport: &Bound<'_, PyAny>,
    sends: bool,
    size: usize,
) -> PyResult<Fault> {
    let Some(faults) = faults(core)? else {
        return Ok(Fault::None);
    };
    let name = name!(core.py(), "_transfer");
    let (sends, all) = (make::boolean(core.py(), sends), make::int(core.py(), size)?);
    let most = faults.call_method1(name, (transport, sends, all))?;
    let most: i64 = most.extract()?;
    let Ok(most) = usize::try_from(most) else {
        return Ok(Fault::Reset);
    };
    Ok(match NonZeroUsize::new(most) {
        None => Fault::Late,
        Some(most) if most.get() < size => Fault::Piece(most),
        Some(_) => Fault::None,
    })
}

/// Asks whether accepting fails, and how.
#[cold]
pub(super) fn of_accept(
    core: &Bound<'_, Core>,
    sock: &Bound<'_, PyAny>,
) -> PyResult<Option<io::Error>> {
    let Some(faults) = faults(core)? else {
        return Ok(None);
    };
    let name = name!(core.py(), "_accept");
    let number: Option<i32> = call::method(&faults, name, [sock])?.extract()?;
    Ok(number.map(io::Error::from_raw_os_error))
}

fn faults<'py>(core: &Bound<'py, Core>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let faults = core.getattr(name!(core.py(), "_faults"))?;
    Ok((!faults.is_none()).then_some(faults))
}
