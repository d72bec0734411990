//! `origins`: which lines of the program create its handles and tasks.

use std::sync::OnceLock;

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFrame, PyFrameMethods, PyString, PyTuple};

use super::Core;
use crate::ffi::{frames, make, name};

/// Where a handle was created. `_source_traceback` turns it into what asyncio has there; its class tells it from what
/// a program may have put there.
#[pyclass(frozen, module = "yamanote._yamanote")]
#[derive(Debug)]
pub(crate) struct Origin(Py<PyTuple>);

impl Origin {
    /// The origin of what is created now; `None` if no Python code creates it.
    pub(crate) fn of_call(py: Python<'_>, lines: usize) -> PyResult<Option<Bound<'_, Self>>> {
        let lines = program_lines(py, lines)?;
        lines
            .map(|lines| Bound::new(py, Self(lines.unbind())))
            .transpose()
    }

    /// The `traceback.StackSummary`.
    pub(crate) fn summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static FROM_LIST: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let from_list = FROM_LIST.get_or_try_init(py, || {
            let class = make::import(py, "traceback", "StackSummary")?;
            class.getattr(name!(py, "from_list")).map(Bound::unbind)
        })?;
        from_list.bind(py).call1((&self.0,))
    }
}

/// Notes on a task where it was created, if the loop remembers that and debug mode does not.
#[cold]
pub(crate) fn note(core: &Bound<'_, Core>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, lines) = (core.py(), core.get().shared.traces.lines());
    if lines == 0 {
        return Ok(());
    }
    let Some(origin) = program_lines(py, lines)? else {
        return Ok(());
    };
    match task.setattr(name!(py, "_yamanote_origin"), origin) {
        // Ignored: what a task factory makes need not have attributes.
        Err(error)
            if error.is_instance_of::<PyAttributeError>(py)
                || error.is_instance_of::<PyTypeError>(py) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Folders with files that are not the program's: asyncio's and this package's.
static LIBRARIES: OnceLock<Vec<String>> = OnceLock::new();

/// Sets the folders, each with a separator at its end. Only the first call does.
pub(crate) fn set_libraries(folders: &[Bound<'_, PyString>]) {
    LIBRARIES.get_or_init(|| {
        let folders = folders.iter().map(|folder| folder.to_string_lossy());
        folders.map(String::from).collect()
    });
}

/// The innermost lines of the program, outermost first, as `traceback.StackSummary.from_list` takes them.
///
/// What asyncio calls on its own, such as the start of a server's task for a connection, has no such line between it
/// and the loop; then this is the line of asyncio.
fn program_lines(py: Python<'_>, count: usize) -> PyResult<Option<Bound<'_, PyTuple>>> {
    let mut found = Vec::new();
    let mut inside: Option<Bound<'_, PyTuple>> = None;
    let mut frame = frames::current(py);
    while let Some(here) = frame {
        let code = here.code().into_any();
        let file = code.getattr(name!(py, "co_filename"))?;
        let is_library = is_library(file.cast::<PyString>()?);
        if is_library
            && code
                .getattr(name!(py, "co_name"))?
                .is(name!(py, "run_forever"))
        {
            // What has called the loop has not called this. The loop's own file creates nothing.
            inside = match inside {
                Some(line) if line.get_item(0)?.eq(&file)? => None,
                other => other,
            };
            break;
        }
        if !is_library {
            found.push(line(&here, &code, &file)?);
            if found.len() == count {
                break;
            }
        } else if inside.is_none() {
            inside = Some(line(&here, &code, &file)?);
        }
        frame = here.outer();
    }
    if found.is_empty() {
        found.extend(inside);
    }
    if found.is_empty() {
        return Ok(None);
    }
    let outermost_first: Vec<_> = found
        .iter()
        .rev()
        .map(|line| line.as_any().as_borrowed())
        .collect();
    make::tuple(py, &outermost_first).map(Some)
}

fn is_library(file: &Bound<'_, PyString>) -> bool {
    let file = file.to_string_lossy();
    let mut folders = LIBRARIES.get().into_iter().flatten();
    folders.any(|folder| file.starts_with(folder))
}

/// `(file, line, function, None)`: the text of the line is read when it is printed.
fn line<'py>(
    frame: &Bound<'py, PyFrame>,
    code: &Bound<'py, PyAny>,
    file: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = frame.py();
    let number = make::signed(py, frame.line_number())?.into_any();
    let function = code.getattr(name!(py, "co_name"))?;
    let parts = [file, &number, &function, &make::none(py)];
    make::tuple(py, &parts.map(Bound::as_borrowed))
}
