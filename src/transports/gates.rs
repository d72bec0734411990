//! What Python holds of the limits on connections that come in.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::scheduler::admission::{Admission, Gate};
use crate::scheduler::limits::TimeLimits;

/// The limits of one server.
#[pyclass(frozen, module = "yamanote._yamanote")]
#[derive(Debug, Default)]
pub(crate) struct ServerGate(pub(super) Arc<Gate>);

/// `first_byte`, `handshake`, `write_stall` and `idle` in milliseconds; 0 is no limit.
pub(crate) type Times = (u32, u32, u32, u32);

#[pymethods]
impl ServerGate {
    /// Set the limits. Without `times`, the loop's own apply.
    fn set(&self, most: Option<usize>, rate: Option<f64>, times: Option<Times>) {
        self.0.set(most, rate, times.map(limits_of));
    }

    /// How many connections are open.
    #[getter]
    fn open(&self) -> usize {
        self.0.open()
    }
}

pub(crate) fn limits_of((first_byte, handshake, write_stall, idle): Times) -> TimeLimits {
    TimeLimits {
        first_byte,
        handshake,
        write_stall,
        idle,
    }
}

pub(crate) fn times_of(limits: TimeLimits) -> Times {
    let TimeLimits {
        first_byte,
        handshake,
        write_stall,
        idle,
    } = limits;
    (first_byte, handshake, write_stall, idle)
}

/// An accepted connection that Python makes a transport for. It leaves when this is dropped, unless a transport has
/// taken it.
#[pyclass(frozen, module = "yamanote._yamanote")]
#[derive(Debug)]
pub(crate) struct Admitted(Mutex<Option<Admission>>);

impl Admitted {
    pub(super) fn new(admission: Admission) -> Self {
        Self(Mutex::new(Some(admission)))
    }

    pub(crate) fn take(&self) -> Option<Admission> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
