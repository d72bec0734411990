//! The calls of other threads, made in a turn.

use pyo3::prelude::*;

use super::remote::Remote;
use crate::ffi::Stopped;
use crate::scheduler::{Core, Source, Visit};

impl Source for Remote {
    fn on_ready(&self, core: &Bound<'_, Core>, _ready: u8) -> PyResult<()> {
        // At most one pass's share; completions that arrive in the meantime have fired the slot again.
        for _ in 0..MAX_CALLS {
            match self.take() {
                Some(completion) => completion.run(core.py()),
                None => return Ok(()),
            }
        }
        self.go_on();
        Ok(())
    }

    fn on_close(&self, _core: &Core, _py: Python<'_>) {
        self.close();
    }

    fn objects(&self, _stopped: Stopped<'_>, _visit: Visit<'_>) {}
}

/// Completions per pass, so that other sources run too.
const MAX_CALLS: usize = 1024;
