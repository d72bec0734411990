//! Python classes whose instances carry a Rust value, and that extend classes written in Python.
//!
//! `#[pyclass]` cannot extend a class like `asyncio.Transport`, whose size is only known at run time.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

pub(super) use super::class_layout::Layout;
use super::immortal::make_immortal;
use super::kept::{self, Kept};
use super::method::Members;
use super::nesting::deallocate;
use super::owner::Stopped;
use super::passing;
use super::reference::{borrowed, counted, returned};
pub(crate) use super::visitor::Visitor;

/// A Rust value that lives inside a Python object; `Py<Self>` points at that object.
pub(crate) trait NativeClass: Send + Sync + Sized + 'static {
    /// The class name, with its module.
    const NAME: &'static CStr;
    const DOC: &'static CStr;

    /// Whether users may set other attributes on instances, or replace methods, as in a Python class.
    const HAS_DICT: bool = false;

    /// The most blocks of memory that are kept for new instances, where they are made for each message. Such a class
    /// has no dict and no base with `__slots__`.
    const KEPT: usize = 0;

    /// Whether `finalize` has nothing to do. Asked where blocks are kept.
    fn needs_no_finalizer(&self, _py: Python<'_>) -> bool {
        false
    }

    /// Stores the class once it is made.
    fn class() -> &'static Class;

    /// The Python class that this one extends.
    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        Ok(py.get_type::<PyAny>())
    }

    fn members() -> Members;

    /// Passes every Python object that the value holds to the garbage collector.
    fn traverse(&self, visitor: &mut Visitor);

    /// Drops references that may be part of a cycle.
    fn clear(&self, _py: Python<'_>) {}

    /// `__del__`: called when no references to the object are left.
    fn finalize(_this: &Bound<'_, Self>) {}

    fn repr(this: &Bound<'_, Self>) -> PyResult<String>;
}

/// A class, and the offset of the Rust value in its instances. Filled once, under the import lock.
#[derive(Debug)]
pub(crate) struct Class {
    object: AtomicPtr<ffi::PyTypeObject>,
    offset: AtomicUsize,
    /// Offset of the dict for attributes that users set; 0 for none.
    dict: AtomicUsize,
    /// Offsets of the base's `__slots__`. The base's own methods never fill them here, but its descriptors may.
    slots: OnceLock<Vec<usize>>,
    pub(super) kept: Kept,
}

impl Class {
    pub(crate) const fn new() -> Self {
        Self {
            object: AtomicPtr::new(ptr::null_mut()),
            offset: AtomicUsize::new(0),
            dict: AtomicUsize::new(0),
            slots: OnceLock::new(),
            kept: Kept::new(),
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
    /// `object` is a class made here, and the caller gives up a reference to it for good. Its instances have the
    /// value at `offset`.
    pub(super) unsafe fn publish(&self, object: *mut ffi::PyTypeObject, offset: usize) {
        self.offset.store(offset, Ordering::Relaxed);
        self.object.store(object, Ordering::Release);
    }
}

/// The Python class of `T`, made by the first call.
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
        // The class is never freed, because its method definitions are not either.
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
        // SAFETY: made above, with this layout.
        unsafe { class.publish(made.into_ptr().cast(), layout.value) };
    }
    // SAFETY: attached; published above, and never freed.
    let object = unsafe { Bound::from_borrowed_ptr(py, class.object().cast()) };
    Ok(object.cast_into::<PyType>()?)
}

/// Creates an instance that carries `value`. The class must have been made.
#[inline]
pub(crate) fn new_instance<T: NativeClass>(py: Python<'_>, value: T) -> PyResult<Bound<'_, T>> {
    if T::KEPT == 0 {
        return kept::allocate(py, value);
    }
    kept::revive(py, value).or_else(|value| kept::allocate(py, value))
}

/// Returns `object` as an instance of `T`'s class, if it is one.
#[inline]
pub(crate) fn downcast<'a, 'py, T: NativeClass>(
    object: &'a Bound<'py, PyAny>,
) -> Option<&'a Bound<'py, T>> {
    // SAFETY: its class is exactly `T`'s, which allows no subclasses.
    (object.get_type_ptr() == T::class().object()).then(|| unsafe { object.cast_unchecked() })
}

/// The Rust value inside `object`.
#[inline]
pub(crate) fn data<'a, T: NativeClass>(object: &'a Bound<'_, T>) -> &'a T {
    // SAFETY: a `Bound<T>` comes from `new_instance`, or from a receiver whose class was checked.
    unsafe { value(object.as_ptr()) }
}

/// The `__slots__` of a class written in Python: the name and offset of each.
pub(super) fn slots_of(class: &Bound<'_, PyType>) -> PyResult<Vec<(String, usize)>> {
    /// The layout of a `member_descriptor`, as in `descrobject.h`.
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
        // SAFETY: this only takes the address of one of the interpreter's own classes.
        if item.get_type_ptr() != &raw mut ffi::PyMemberDescr_Type {
            continue;
        }
        // SAFETY: its class is exactly that one, whose instances have this layout.
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

/// A member definition that tells the interpreter the offset of something in an instance.
fn place(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

/// The members for the offsets of weak references and of the dict.
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

/// Creates a class from its parts.
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
    // The interpreter keeps pointers to these tables; a class is made once per process.
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
    // Instances are only made together with their value, which a call of the class would not provide.
    let flags =
        ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: c_int::try_from(layout.size)?,
        itemsize: 0,
        flags: u32::try_from(flags)?,
        slots: slots.leak().as_mut_ptr(),
    };
    // SAFETY: attached; the spec's tables are terminated above and never freed, its functions have the signatures of
    // their slots, and `base` is a live type.
    let made = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, base.as_ptr()) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(base.py(), made) }.inspect(make_immortal)
}

/// Frees the memory of an instance whose value has been dropped, and releases its reference to the class.
///
/// # Safety
///
/// The thread is attached; `object` is an instance of a class made here, untracked and without references.
pub(super) unsafe fn free(object: *mut ffi::PyObject) {
    // SAFETY: a live object, as the caller guarantees.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: the caller guarantees that nothing refers to it and that the collector does not track it.
    unsafe { ffi::PyObject_GC_Del(object.cast()) };
    // SAFETY: an instance of a heap type holds a reference to it, which ends here.
    unsafe { ffi::Py_DECREF(class.cast()) };
}

/// # Safety
///
/// `object` is an instance of `T`'s class that carries a value, alive for `'a`.
pub(super) unsafe fn value<'a, T: NativeClass>(object: *mut ffi::PyObject) -> &'a T {
    // SAFETY: the caller guarantees that there is a `T` at this offset of the same allocation.
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    // SAFETY: as above; there are only shared references, and interior state has its own guards.
    unsafe { &*place }
}

/// The place of an instance's dict, or `None` if its class has none.
///
/// # Safety
///
/// `object` is an instance of `T`'s class, alive.
pub(super) unsafe fn dict_of<T: NativeClass>(
    object: *mut ffi::PyObject,
) -> Option<*mut *mut ffi::PyObject> {
    let offset = T::class().dict.load(Ordering::Relaxed);
    // SAFETY: `basicsize` leaves room for a pointer at this offset, aligned (see `Layout`).
    (offset != 0).then(|| unsafe { object.byte_add(offset) }.cast())
}

/// Releases the dict.
///
/// # Safety
///
/// The thread is attached; `object` is an instance of `T`'s class that Python code cannot reach.
unsafe fn forget_dict<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: guaranteed by the caller.
    let Some(place) = (unsafe { dict_of::<T>(object) }) else {
        return;
    };
    // SAFETY: zeroed when it was allocated, and then written by the interpreter only; no other code uses it now.
    let dict = unsafe { place.replace(ptr::null_mut()) };
    // SAFETY: attached; null, or the reference that the instance owned.
    unsafe { ffi::Py_XDECREF(dict) };
}

/// The places of the base's `__slots__`.
///
/// # Safety
///
/// `object` is an instance of `T`'s class, alive.
unsafe fn base_slots<T: NativeClass>(
    object: *mut ffi::PyObject,
) -> impl Iterator<Item = *mut *mut ffi::PyObject> {
    let slots = T::class().slots.get().map_or(&[][..], Vec::as_slice);
    slots.iter().map(move |offset| {
        // SAFETY: the slot's descriptor uses this offset in every instance.
        unsafe { object.byte_add(*offset) }.cast()
    })
}

/// Releases what the base's descriptors stored.
///
/// # Safety
///
/// The thread is attached; `object` is an instance of `T`'s class that Python code cannot reach.
unsafe fn forget_base_slots<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: guaranteed by the caller.
    for place in unsafe { base_slots::<T>(object) } {
        // SAFETY: an owned reference or null; no other code uses it now.
        let held = unsafe { place.replace(ptr::null_mut()) };
        // SAFETY: attached; the reference that the instance owned, or null.
        unsafe { ffi::Py_XDECREF(held) };
    }
}

unsafe extern "C" fn dealloc<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this with an object of this class whose count has dropped to zero, attached.
    if T::KEPT > 0 && unsafe { kept::keep::<T>(object) } {
        return;
    }
    // SAFETY: the interpreter calls this with an object of this class whose count has dropped to zero.
    unsafe { deallocate(object, free_instance::<T>) };
}

/// # Safety
///
/// The thread is attached; `object` is an instance of `T`'s class whose count has dropped to zero.
unsafe fn free_instance<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: guaranteed by the caller.
    if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
        return; // `__del__` made a new reference.
    }
    // SAFETY: tracked since it was allocated; the function also accepts an untracked object.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    // SAFETY: live memory of an instance, attached; without a list of weak references this does nothing.
    unsafe { ffi::PyObject_ClearWeakRefs(object) };
    // SAFETY: there is a `T` at this offset, which no other code can reach any more.
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    let drop_value = |_: Python<'_>| {
        // SAFETY: as above; dropped once, here. A panic of the drop is caught here.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { place.drop_in_place() }));
        // Ignored: the panic hook has printed it, and a deallocator cannot return an error.
        drop(dropped);
    };
    // SAFETY: the interpreter made this call, so it is running. Lets PyO3 drop references at once.
    unsafe { Python::attach_unchecked(drop_value) };
    // SAFETY: attached; an instance that no other code can reach any more.
    unsafe { forget_dict::<T>(object) };
    // SAFETY: as above.
    unsafe { forget_base_slots::<T>(object) };
    // SAFETY: attached; untracked, and its value, weak references and dict are gone.
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
        // SAFETY: within the instance. The interpreter writes it while attached, and the collector runs either
        // attached (with a GIL) or while all other threads are stopped.
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
    // SAFETY: the collector only tracks instances that carry a value.
    let value = unsafe { value::<T>(object) };
    // Ignored: the panic hook has printed it; the collector then considers the object referenced from outside.
    drop(catch_unwind(AssertUnwindSafe(|| {
        value.traverse(&mut visitor);
    })));
    visitor.result
}

unsafe extern "C" fn clear<T: NativeClass>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector only tracks instances that carry a value.
    let value = unsafe { value::<T>(object) };
    let clear_value = |py: Python<'_>| {
        // Ignored: the panic hook has printed it, and `tp_clear` cannot report an error.
        drop(catch_unwind(AssertUnwindSafe(|| value.clear(py))));
    };
    // SAFETY: the interpreter made this call, so it is running.
    unsafe { Python::attach_unchecked(clear_value) };
    // SAFETY: the collector calls this, attached, with an instance that is garbage.
    unsafe { forget_dict::<T>(object) };
    // SAFETY: as above.
    unsafe { forget_base_slots::<T>(object) };
    0
}

unsafe extern "C" fn finalize<T: NativeClass>(object: *mut ffi::PyObject) {
    let finalize_value = |py: Python<'_>| {
        // SAFETY: the interpreter calls this with an instance of this class.
        let this = unsafe { borrowed::<T>(py, &object) };
        passing::aside(py, || {
            // Ignored: the panic hook has printed it, and a finalizer cannot return an error.
            drop(catch_unwind(AssertUnwindSafe(|| T::finalize(this))));
        });
    };
    // SAFETY: the interpreter made this call, so it is running.
    unsafe { Python::attach_unchecked(finalize_value) };
}

unsafe extern "C" fn repr<T: NativeClass>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let show = |py: Python<'_>| {
        // SAFETY: the interpreter calls this with an instance of this class.
        let this = unsafe { borrowed::<T>(py, &object) };
        super::method::guarded(py, || {
            let text = T::repr(this)?;
            super::make::string(py, &text).map(Bound::into_any)
        })
    };
    // SAFETY: the interpreter calls this while attached.
    unsafe { counted(show) }
}
