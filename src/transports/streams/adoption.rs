//! Which of asyncio's stream objects get native methods, and when.
//!
//! An adopted object is an instance of an empty subclass of its class; its attributes stay where asyncio keeps them.
//! Only objects that are exactly asyncio's are adopted, and only if no method that counts was replaced.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use super::fields::{Fields, READER, WRITER};
use crate::ffi::{adopt, make, name};
use crate::scheduler::{Core, Flush, is_exit};

/// asyncio's class, the subclass for adopted objects, and the methods that must not be replaced.
#[derive(Debug)]
pub(crate) struct Family {
    pub(super) base: Py<PyType>,
    pub(super) own: Py<PyType>,
    methods: Vec<Method>,
    /// The version of `own` when the methods were last compared; 0 for never.
    version: AtomicU32,
}

#[derive(Debug)]
struct Method {
    name: &'static str,
    of_base: Py<PyAny>,
    of_own: Py<PyAny>,
}

/// The families of asyncio's stream classes.
#[derive(Debug)]
pub(crate) struct Families {
    pub(super) reader: Family,
    pub(super) writer: Family,
    /// Its subclass has no methods of its own: it marks a protocol whose attributes may be read directly.
    protocol: Family,
    /// The code of `StreamWriter.write` and `StreamWriter.writelines`.
    codes: [Py<PyAny>; 2],
    overlay: Overlay,
    /// Its class, which a program may change, too.
    overlays: Family,
}

/// Methods of a transport that adopts writers, as a stream does, but is above one: TLS. They return `None`, and do
/// nothing, for objects of other classes, and for those with attributes of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlay {
    pub(crate) class: fn(Python<'_>) -> PyResult<Bound<'_, PyType>>,
    pub(crate) write: fn(&Bound<'_, PyAny>, &Bound<'_, PyAny>) -> Option<PyResult<()>>,
    pub(crate) is_closing: fn(&Bound<'_, PyAny>) -> Option<PyResult<bool>>,
}

/// How often a transport has met the reader and the writer of a stream, up to the use that adopts them: the second,
/// so that a connection that is used once does not pay for it.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    reads: Cell<u8>,
    writes: Cell<u8>,
}

impl Uses {
    /// Counts a read for a stream's reader. Whether it is the second.
    #[inline]
    pub(crate) fn reads_again(&self) -> bool {
        is_second(&self.reads)
    }

    /// Counts a write of a stream's writer, which calls the transport now; the second one adopts it.
    #[inline]
    pub(crate) fn wrote(
        &self,
        core: &Bound<'_, Core>,
        transport: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if is_second(&self.writes) {
            adopt_writer(core, transport)?;
        }
        Ok(())
    }
}

#[inline]
fn is_second(uses: &Cell<u8>) -> bool {
    let before = uses.get();
    if before < 2 {
        uses.set(before + 1);
    }
    before == 1
}

impl Families {
    /// The methods of the other transport, if they are what they were.
    #[inline]
    pub(super) fn overlay(&self, py: Python<'_>) -> PyResult<Option<&Overlay>> {
        Ok(self.overlays.is_intact(py)?.then_some(&self.overlay))
    }
}

static FAMILIES: PyOnceLock<Option<Families>> = PyOnceLock::new();

impl Family {
    /// `None` if a method is not the one that asyncio's module defines.
    pub(super) fn new(
        base: &Bound<'_, PyType>,
        own: &Bound<'_, PyType>,
        names: &[&'static str],
    ) -> PyResult<Option<Self>> {
        let py = base.py();
        let mut methods = Vec::new();
        for &name in names {
            let text = make::string(py, name)?;
            let (of_base, of_own) = (base.getattr(&text)?, own.getattr(&text)?);
            if !is_defined_in_streams(&of_base)? {
                return Ok(None);
            }
            methods.push(Method {
                name,
                of_base: of_base.unbind(),
                of_own: of_own.unbind(),
            });
        }
        Ok(Some(Self {
            base: base.clone().unbind(),
            own: own.clone().unbind(),
            methods,
            version: AtomicU32::new(0),
        }))
    }

    /// A class of ours, whose instances are not adopted.
    fn alone(class: &Bound<'_, PyType>, names: &[&'static str]) -> PyResult<Self> {
        let mut methods = Vec::new();
        for &name in names {
            let method = class.getattr(make::string(class.py(), name)?)?;
            methods.push(Method {
                name,
                of_base: method.clone().unbind(),
                of_own: method.unbind(),
            });
        }
        Ok(Self {
            base: class.clone().unbind(),
            own: class.clone().unbind(),
            methods,
            version: AtomicU32::new(0),
        })
    }

    /// Whether the methods are those that were found at first.
    #[inline]
    pub(super) fn is_intact(&self, py: Python<'_>) -> PyResult<bool> {
        let version = adopt::version(self.own.bind(py));
        if version != 0 && version == self.version.load(Ordering::Relaxed) {
            return Ok(true);
        }
        self.compare(py)
    }

    #[cold]
    fn compare(&self, py: Python<'_>) -> PyResult<bool> {
        let (base, own) = (self.base.bind(py), self.own.bind(py));
        // Before the look-ups: if the class changes meanwhile, the next call compares again.
        let version = adopt::version(own);
        for method in &self.methods {
            let name = make::string(py, method.name)?;
            let is_same =
                base.getattr(&name)?.is(&method.of_base) && own.getattr(&name)?.is(&method.of_own);
            if !is_same {
                return Ok(false);
            }
        }
        self.version.store(version, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether `object` is exactly asyncio's, and may be adopted: it has the attributes of a new instance, no others.
    fn accepts(&self, object: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<bool> {
        let py = object.py();
        if !object.get_type().is(&self.base) || !self.is_intact(py)? {
            return Ok(false);
        }
        let fields = adopt::fields(object)?;
        Ok(fields.len() == names.len() && has_all(&fields, names)?)
    }

    /// Gives the object the subclass. One for which an audit hook refuses that stays as it is.
    fn adopt(&self, core: &Bound<'_, Core>, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let adopted = object.setattr(name!(py, "__class__"), &self.own);
        match kept(core, object, adopted) {
            Err(error) if is_exit(py, &error) => Err(error),
            // Ignored: asyncio would not have made this assignment, so it must not report its failure.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Keeps an object that could not be adopted until the callback that runs is over.
///
/// `vars()` of it may share its values since. Python 3.13 and later copy these when the object dies, and where there is no
/// memory for that, lose the exception of the frame that let go of it: the interpreter then crashes.
fn kept<T>(core: &Bound<'_, Core>, object: &Bound<'_, PyAny>, result: PyResult<T>) -> PyResult<T> {
    if result.is_err()
        && let Ok(local) = core.get().local(core.py())
        && local.is_in_turn()
    {
        local.flush_later(Flush {
            target: object.clone().unbind(),
            run: |_| Ok(()),
        });
    }
    result
}

fn has_all(fields: &Bound<'_, PyDict>, names: &[&str]) -> PyResult<bool> {
    for name in names {
        if !fields.contains(make::string(fields.py(), name)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_defined_in_streams(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = function.py();
    let module = make::import(py, "asyncio", "streams")?;
    let Some(globals) = function.getattr_opt(make::string(py, "__globals__")?)? else {
        return Ok(false);
    };
    Ok(globals.is(module.getattr(make::string(py, "__dict__")?)?))
}

/// Makes [`families`] return what `make` returns.
pub(super) fn found(
    py: Python<'_>,
    overlay: Overlay,
    make: impl FnOnce() -> PyResult<Option<[Family; 3]>>,
) -> PyResult<()> {
    FAMILIES
        .get_or_try_init(py, || {
            let Some([reader, writer, protocol]) = make()? else {
                return Ok(None);
            };
            let codes = [
                code(py, &writer, "write")?,
                code(py, &writer, "writelines")?,
            ];
            Ok(Some(Families {
                overlay,
                overlays: Family::alone(&(overlay.class)(py)?, &["write", "is_closing"])?,
                reader,
                writer,
                protocol,
                codes,
            }))
        })
        .map(drop)
}

fn code(py: Python<'_>, family: &Family, name: &str) -> PyResult<Py<PyAny>> {
    let function = family.base.bind(py).getattr(make::string(py, name)?)?;
    let code = function.getattr(make::string(py, "__code__")?)?;
    Ok(code.unbind())
}

/// The families, or `None` if asyncio's classes were changed before they were first looked at.
#[inline]
pub(crate) fn families(py: Python<'_>) -> Option<&'static Families> {
    FAMILIES.get(py)?.as_ref()
}

/// Whether the object is an adopted reader.
#[inline]
pub(crate) fn is_adopted(reader: &Bound<'_, PyAny>) -> bool {
    families(reader.py()).is_some_and(|families| reader.get_type().is(&families.reader.own))
}

/// The attributes of an adopted reader; `None` if one of its methods was replaced since.
#[inline]
pub(crate) fn fields_if_intact<'py>(reader: &Bound<'py, PyAny>) -> PyResult<Option<Fields<'py>>> {
    match families(reader.py()) {
        Some(families) if families.reader.is_intact(reader.py())? => Fields::of(reader),
        _ => Ok(None),
    }
}

/// Whether the protocol is exactly asyncio's stream protocol, adopted or not.
pub(crate) fn is_stream_protocol(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = protocol.py();
    let class = protocol.get_type();
    if families(py).is_some_and(|families| class.is(&families.protocol.own)) {
        return Ok(true);
    }
    let base = make::imported(&CLASS, py, "asyncio.streams", "StreamReaderProtocol")?;
    Ok(class.is(base))
}

/// The attributes of an adopted protocol; `None` if `method` was replaced since, in the class or the object.
#[inline]
pub(crate) fn fields_of_protocol<'py>(
    protocol: &Bound<'py, PyAny>,
    method: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = protocol.py();
    let Some(families) = families(py) else {
        return Ok(None);
    };
    let family = &families.protocol;
    if !protocol.get_type().is(&family.own) || !family.is_intact(py)? {
        return Ok(None);
    }
    let fields = adopt::fields(protocol)?;
    Ok(if fields.contains(method)? {
        None
    } else {
        Some(fields)
    })
}

/// Adopts a stream protocol and its reader, if they may be.
pub(crate) fn adopt_reader(
    core: &Bound<'_, Core>,
    protocol: &Bound<'_, PyAny>,
    reader: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = core.py();
    let Some(families) = families(py).filter(|_| may_adopt(core)) else {
        return Ok(());
    };
    let is_on_this_loop =
        |reader: &Bound<'_, PyAny>| Ok::<_, PyErr>(reader.getattr(name!(py, "_loop"))?.is(core));
    if kept(core, reader, families.reader.accepts(reader, &READER))? && is_on_this_loop(reader)? {
        families.reader.adopt(core, reader)?;
        adopt_protocol(core, &families.protocol, protocol)?;
    }
    Ok(())
}

/// Adopts the writer whose `write` or `writelines` calls the transport now, if there is one and it may be; and its
/// protocol.
///
/// asyncio keeps no reference that leads from a transport to its writer.
fn adopt_writer(core: &Bound<'_, Core>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = core.py();
    let Some(families) = families(py).filter(|_| may_adopt(core)) else {
        return Ok(());
    };
    for code in &families.codes {
        let Some(writer) = adopt::running_self(code.bind(py))? else {
            continue;
        };
        if kept(core, &writer, families.writer.accepts(&writer, &WRITER))?
            && writer.getattr(name!(py, "_transport"))?.is(transport)
        {
            families.writer.adopt(core, &writer)?;
            let protocol = writer.getattr(name!(py, "_protocol"))?;
            adopt_protocol(core, &families.protocol, &protocol)?;
        }
    }
    Ok(())
}

fn adopt_protocol(
    core: &Bound<'_, Core>,
    family: &Family,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let is_stock = protocol.get_type().is(&family.base);
    if is_stock && family.is_intact(protocol.py())? {
        family.adopt(core, protocol)?;
    }
    Ok(())
}

/// On free-threaded builds, an adopted object could be called from any thread; there, asyncio's methods stay.
fn may_adopt(core: &Bound<'_, Core>) -> bool {
    cfg!(not(Py_GIL_DISABLED)) && !core.get().is_debug()
}
