//! Python classes whose instances carry a Rust value, derived from classes written in Python.
//!
//! `#[pyclass]` cannot extend a class like `asyncio.Transport`, whose size is known at run time only.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

pub(super) use super::class_layout::Layout;
use super::method::Members;
use super::nesting::deallocate;
use super::owner::Stopped;
use super::reference::{borrowed, counted, owned, returned};
pub(crate) use super::visitor::Visitor;

/// A Rust value that lives inside a Python object; `Py<Self>` points at that object.
pub(crate) trait NativeClass: Send + Sync + Sized + 'static {
    /// With the module in front.
    const NAME: &'static CStr;
    const DOC: &'static CStr;

    /// Whether users may give instances attributes of their own, or replace methods, as in a Python class.
    const HAS_DICT: bool = false;

    /// Where the class is kept once it is made.
    fn class() -> &'static Class;

    /// The Python class that this one extends.
    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>>;

    fn members() -> Members;

    /// Shows the collector every Python object held.
    fn traverse(&self, visitor: &mut Visitor);

    /// Lets go of what may be part of a cycle.
    fn clear(&self, py: Python<'_>);

    /// `__del__`: nobody refers to the object any more.
    fn finalize(this: &Bound<'_, Self>);

    fn repr(this: &Bound<'_, Self>) -> PyResult<String>;
}

/// A class and the place of the Rust value in its instances. Filled once, under the import lock.
#[derive(Debug)]
pub(crate) struct Class {
    object: AtomicPtr<ffi::PyTypeObject>,
    offset: AtomicUsize,
    /// Of the attributes that users set; 0 for none.
    dict: AtomicUsize,
    /// Where the base keeps its `__slots__`. Its own methods never fill them here, but its descriptors may.
    slots: OnceLock<Vec<usize>>,
}

impl Class {
    pub(crate) const fn new() -> Self {
        Self {
            object: AtomicPtr::new(ptr::null_mut()),
            offset: AtomicUsize::new(0),
            dict: AtomicUsize::new(0),
            slots: OnceLock::new(),
        }
    }

    pub(super) fn object(&self) -> *mut ffi::PyTypeObject {
        self.object.load(Ordering::Acquire)
    }

    pub(super) fn offset(&self) -> usize {
        self.offset.load(Ordering::Relaxed)
    }

    /// # Safety
    ///
    /// `object` is a class made here, of which the caller gives up a reference for good. Its instances have the value
    /// at `offset`.
    pub(super) unsafe fn publish(&self, object: *mut ffi::PyTypeObject, offset: usize) {
        self.offset.store(offset, Ordering::Relaxed);
        self.object.store(object, Ordering::Release);
    }
}

/// The Python class of `T`, made at the first call.
pub(crate) fn class_of<T: NativeClass>(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let class = T::class();
    if class.object().is_null() {
        let base = T::base(py)?;
        let layout = Layout::after::<T>(&base, T::HAS_DICT)?;
        let slots = vec![
            slot(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void),
            slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void),
            slot(ffi::Py_tp_clear, clear::<T> as *mut c_void),
            slot(ffi::Py_tp_finalize, finalize::<T> as *mut c_void),
            slot(ffi::Py_tp_repr, repr::<T> as *mut c_void),
        ];
        let made = make(T::NAME, T::DOC, &base, &layout, slots, T::members())?;
        // The class lives for as long as the process: its methods' definitions do.
        class
            .dict
            .store(layout.dict.unwrap_or(0), Ordering::Relaxed);
        let mut slots = Vec::new();
        for class in base.mro() {
            slots.extend(
                slots_of(&class.cast_into()?)?
                    .into_iter()
                    .map(|slot| slot.1),
            );
        }
        // Ignored: it is empty, since the class was not published.
        let _ = class.slots.set(slots);
        // SAFETY: just made, after this layout.
        unsafe { class.publish(made.into_ptr().cast(), layout.value) };
    }
    // SAFETY: attached; published above, and never freed.
    let object = unsafe { Bound::from_borrowed_ptr(py, class.object().cast()) };
    Ok(object.cast_into::<PyType>()?)
}

/// A new instance that carries `value`. The class must have been made.
pub(crate) fn new_instance<T: NativeClass>(py: Python<'_>, value: T) -> PyResult<Bound<'_, T>> {
    let class = class_of::<T>(py)?;
    // SAFETY: attached; `class` is a live heap type with the collector's flag, which this allocates for. A
    // new reference to zeroed memory, or null with an exception set.
    let object = unsafe { ffi::PyType_GenericAlloc(class.as_type_ptr(), 0) };
    if object.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: `basicsize` leaves room for a `T` at this offset, aligned (see `Layout`).
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    // SAFETY: as above, and nothing is there yet. No Python code has run since the allocation.
    unsafe { place.write(value) };
    // SAFETY: a new reference to an instance of `T`'s class.
    Ok(unsafe { owned(py, object) })
}

/// `object` as an instance of `T`'s class, if it is one.
#[inline]
pub(crate) fn downcast<'a, 'py, T: NativeClass>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, T>> {
    // SAFETY: its class is `T`'s, exactly: it allows no subclasses.
    (object.get_type_ptr() == T::class().object()).then(|| unsafe { object.cast_unchecked() })
}

/// The Rust value inside `object`.
#[inline]
pub(crate) fn data<'a, T: NativeClass>(object: &'a Bound<'_, T>) -> &'a T {
    // SAFETY: a `Bound<T>` is made by `new_instance`, or from a receiver whose class was checked.
    unsafe { value(object.as_ptr()) }
}

/// The `__slots__` of a class written in Python: each one's name and place in an instance.
pub(super) fn slots_of(class: &Bound<'_, PyType>) -> PyResult<Vec<(String, usize)>> {
    /// What `descrobject.h` says of a `member_descriptor`.
    #[repr(C)]
    struct MemberDescriptor {
        head: ffi::PyObject,
        class: *mut ffi::PyTypeObject,
        name: *mut ffi::PyObject,
        qualified_name: *mut ffi::PyObject,
        member: *mut ffi::PyMemberDef,
    }
    let mut slots = Vec::new();
    for item in class
        .getattr("__dict__")?
        .call_method0("values")?
        .try_iter()?
    {
        let item = item?;
        // SAFETY: only the address of one of the interpreter's own classes is taken.
        if item.get_type_ptr() != &raw mut ffi::PyMemberDescr_Type {
            continue;
        }
        // SAFETY: its class is exactly that one, whose instances look so.
        let descriptor = unsafe { &*item.as_ptr().cast::<MemberDescriptor>() };
        // SAFETY: a descriptor has a definition that lives as long as it does.
        let member = unsafe { &*descriptor.member };
        if member.type_code == ffi::Py_T_OBJECT_EX {
            slots.push((
                item.getattr("__name__")?.extract()?,
                member.offset.cast_unsigned(),
            ));
        }
    }
    Ok(slots)
}

pub(super) fn slot(number: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot: number,
        pfunc: function,
    }
}

/// Tells the interpreter where in an instance it finds something of its own.
fn place(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

/// The members that tell the interpreter where weak references and attributes are.
fn places(layout: &Layout) -> Vec<ffi::PyMemberDef> {
    let offsets = [
        (c"__weaklistoffset__", layout.weak_references),
        (c"__dictoffset__", layout.dict),
    ];
    let places = offsets
        .into_iter()
        .filter_map(|(name, offset)| offset.map(|offset| place(name, offset)));
    places.chain([ffi::PyMemberDef::default()]).collect()
}

/// A class from its parts.
pub(super) fn make<'py>(
    name: &'static CStr,
    doc: &'static CStr,
    base: &Bound<'py, PyType>,
    layout: &Layout,
    mut slots: Vec<ffi::PyType_Slot>,
    members: Members,
) -> PyResult<Bound<'py, PyAny>> {
    let mut methods = members.methods;
    methods.push(ffi::PyMethodDef::zeroed());
    let mut attributes = members.attributes;
    if layout.dict.is_some() {
        attributes.push(ffi::PyGetSetDef {
            name: c"__dict__".as_ptr(),
            get: Some(ffi::PyObject_GenericGetDict),
            set: Some(ffi::PyObject_GenericSetDict),
            ..ffi::PyGetSetDef::default()
        });
    }
    attributes.push(ffi::PyGetSetDef::default());
    slots.extend(members.slots);
    slots.push(slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()));
    // The interpreter keeps pointing at these tables; a class is made once per process.
    slots.push(slot(ffi::Py_tp_methods, methods.leak().as_mut_ptr().cast()));
    slots.push(slot(
        ffi::Py_tp_getset,
        attributes.leak().as_mut_ptr().cast(),
    ));
    slots.push(slot(
        ffi::Py_tp_members,
        places(layout).leak().as_mut_ptr().cast(),
    ));
    slots.push(slot(0, ptr::null_mut()));
    // An instance is made with its value or not at all: calling the class would leave that out.
    let flags =
        ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: c_int::try_from(layout.size)?,
        itemsize: 0,
        flags: u32::try_from(flags)?,
        slots: slots.leak().as_mut_ptr(),
    };
    // SAFETY: attached; the spec's tables are terminated above and live for ever, its functions have
    // the signatures of their slots, and `base` is a live type.
    let made = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, base.as_ptr()) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(base.py(), made) }
}

/// Frees the memory of an instance whose value is gone, and the reference to its class.
///
/// # Safety
///
/// Attached; `object` is an instance of a class made here, untracked and without references.
pub(super) unsafe fn free(object: *mut ffi::PyObject) {
    // SAFETY: the caller's: a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: the caller's: nothing refers to it and the collector does not know it.
    unsafe { ffi::PyObject_GC_Del(object.cast()) };
    // SAFETY: an instance of a heap type holds a reference to it, which ends here.
    unsafe { ffi::Py_DECREF(class.cast()) };
}

/// # Safety
///
/// `object` is an instance of `T`'s class that carries a value, alive for `'a`.
unsafe fn value<'a, T: NativeClass>(object: *mut ffi::PyObject) -> &'a T {
    // SAFETY: the caller's: there is a `T` at this offset of the same allocation.
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    // SAFETY: as above; shared references only, interior state has its own guards.
    unsafe { &*place }
}

/// Where an instance keeps its dict, if its class has one.
///
/// # Safety
///
/// `object` is an instance of `T`'s class, alive.
unsafe fn dict_of<T: NativeClass>(object: *mut ffi::PyObject) -> Option<*mut *mut ffi::PyObject> {
    let offset = T::class().dict.load(Ordering::Relaxed);
    // SAFETY: `basicsize` leaves room for a pointer at this offset, aligned (see `Layout`).
    (offset != 0).then(|| unsafe { object.byte_add(offset) }.cast())
}

/// Lets go of the dict.
///
/// # Safety
///
/// Attached; `object` is an instance of `T`'s class that Python code cannot reach.
unsafe fn forget_dict<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: the caller's.
    let Some(place) = (unsafe { dict_of::<T>(object) }) else {
        return;
    };
    // SAFETY: zeroed when it was allocated, and then the interpreter's; nobody else looks at it now.
    let dict = unsafe { place.replace(ptr::null_mut()) };
    // SAFETY: attached; null, or the reference that the instance owned.
    unsafe { ffi::Py_XDECREF(dict) };
}

/// Where the base's `__slots__` are.
///
/// # Safety
///
/// `object` is an instance of `T`'s class, alive.
unsafe fn base_slots<T: NativeClass>(
    object: *mut ffi::PyObject,
) -> impl Iterator<Item = *mut *mut ffi::PyObject> {
    let slots = T::class().slots.get().map_or(&[][..], Vec::as_slice);
    slots.iter().map(move |offset| {
        // SAFETY: the descriptor of the slot leads there in every instance.
        unsafe { object.byte_add(*offset) }.cast()
    })
}

/// Lets go of what the base's descriptors put there.
///
/// # Safety
///
/// Attached; `object` is an instance of `T`'s class that Python code cannot reach.
unsafe fn forget_base_slots<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: the caller's.
    for place in unsafe { base_slots::<T>(object) } {
        // SAFETY: an owned reference or null; no other code looks at it now.
        let held = unsafe { place.replace(ptr::null_mut()) };
        // SAFETY: attached; the reference that the instance owned, or null.
        unsafe { ffi::Py_XDECREF(held) };
    }
}

unsafe extern "C" fn dealloc<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter with an object of this class whose count has dropped to zero.
    unsafe { deallocate(object, free_instance::<T>) };
}

/// # Safety
///
/// Attached; `object` is an instance of `T`'s class whose count has dropped to zero.
unsafe fn free_instance<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: the caller's.
    if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return; // `__del__` made a new reference.
    }
    // SAFETY: tracked since it was allocated; the interpreter allows it for an untracked one too.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    // SAFETY: live memory of an instance, attached; without a list of weak references this does nothing.
    unsafe { ffi::PyObject_ClearWeakRefs(object) };
    // SAFETY: there is a `T` at this offset, which nobody can reach any more.
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    let drop_value = |_: Python<'_>| {
        // SAFETY: as above; dropped once, here. A panic of a drop stops at this edge.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { place.drop_in_place() }));
        // Ignored: the panic hook has printed it, and a deallocator has nobody to tell.
        drop(dropped);
    };
    // SAFETY: the interpreter is up, since it called. Tells PyO3 that references may be dropped at once.
    unsafe { Python::attach_unchecked(drop_value) };
    // SAFETY: an instance that nobody can reach any more, attached.
    unsafe { forget_dict::<T>(object) };
    // SAFETY: as above.
    unsafe { forget_base_slots::<T>(object) };
    // SAFETY: attached, untracked, value, weak references and dict gone.
    unsafe { free(object) };
}

unsafe extern "C" fn traverse<T: NativeClass>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    let mut visitor = Visitor {
        visit,
        argument,
        result: 0,
        // SAFETY: this is a `tp_traverse`, and the visitor does not outlive it.
        stopped: unsafe { Stopped::inside_traverse() },
    };
    // SAFETY: a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: every instance owns a reference to its class.
    unsafe { visitor.raw(class.cast()) };
    // SAFETY: as above.
    if let Some(place) = unsafe { dict_of::<T>(object) } {
        // SAFETY: within the instance; the interpreter writes it while attached, and the collector runs
        // either attached (with a GIL) or while all others stand still.
        let dict = unsafe { place.read() };
        if !dict.is_null() {
            // SAFETY: the instance owns a reference to it.
            unsafe { visitor.raw(dict) };
        }
    }
    // SAFETY: as above.
    for place in unsafe { base_slots::<T>(object) } {
        // SAFETY: as for the dict.
        let held = unsafe { place.read() };
        if !held.is_null() {
            // SAFETY: the instance owns a reference to it.
            unsafe { visitor.raw(held) };
        }
    }
    // SAFETY: the collector only knows instances that carry a value.
    let value = unsafe { value::<T>(object) };
    // Ignored: the panic hook has printed it; to the collector the object then looks referenced from outside.
    drop(catch_unwind(AssertUnwindSafe(|| {
        value.traverse(&mut visitor);
    })));
    visitor.result
}

unsafe extern "C" fn clear<T: NativeClass>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector only knows instances that carry a value.
    let value = unsafe { value::<T>(object) };
    let clear_value = |py: Python<'_>| {
        // Ignored: the panic hook has printed it, and the collector has nobody to tell.
        drop(catch_unwind(AssertUnwindSafe(|| value.clear(py))));
    };
    // SAFETY: the interpreter is up, since it called.
    unsafe { Python::attach_unchecked(clear_value) };
    // SAFETY: called by the collector, attached, with an instance that is garbage.
    unsafe { forget_dict::<T>(object) };
    // SAFETY: as above.
    unsafe { forget_base_slots::<T>(object) };
    0
}

unsafe extern "C" fn finalize<T: NativeClass>(object: *mut ffi::PyObject) {
    let finalize_value = |py: Python<'_>| {
        // A finalizer must leave an exception that is on its way as it was.
        let passing = PyErr::take(py);
        // SAFETY: called by the interpreter with an instance of this class.
        let this = unsafe { borrowed::<T>(py, &object) };
        // Ignored: the panic hook has printed it, and a finalizer has nobody to tell.
        drop(catch_unwind(AssertUnwindSafe(|| T::finalize(this))));
        if let Some(passing) = passing {
            passing.restore(py);
        }
    };
    // SAFETY: the interpreter is up, since it called.
    unsafe { Python::attach_unchecked(finalize_value) };
}

unsafe extern "C" fn repr<T: NativeClass>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let show = |py: Python<'_>| {
        // SAFETY: called by the interpreter with an instance of this class.
        let this = unsafe { borrowed::<T>(py, &object) };
        super::method::guarded(py, || {
            let text = T::repr(this)?;
            super::make::string(py, &text).map(Bound::into_any)
        })
    };
    // SAFETY: the interpreter calls this while attached.
    unsafe { counted(show) }
}
