//! A stand-in: OpenSSL's `BIO`s, without sessions.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

/// Where a program finds what was stored in a `BIO`.
pub(super) struct Bio {
    pub(super) method: *const BioMethod,
    pub(super) data: Cell<*mut c_void>,
    pub(super) is_initialised: Cell<bool>,
    pub(super) flags: Cell<c_int>,
}

type Read = unsafe extern "C" fn(*mut Bio, *mut c_char, c_int) -> c_int;
type Write = unsafe extern "C" fn(*mut Bio, *const c_char, c_int) -> c_int;
type Control = unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long;
type Destroy = unsafe extern "C" fn(*mut Bio) -> c_int;

/// The four functions that the `BIO` calls.
#[derive(Default)]
pub(super) struct BioMethod {
    pub(super) read: Cell<Option<Read>>,
    pub(super) write: Cell<Option<Write>>,
    pub(super) control: Cell<Option<Control>>,
    pub(super) destroy: Cell<Option<Destroy>>,
}

#[derive(Debug)]
pub(super) struct OpenSsl {
    pub(super) bio_type: unsafe extern "C" fn() -> c_int,
    pub(super) new_method: unsafe extern "C" fn(c_int, *const c_char) -> *mut BioMethod,
    pub(super) method_read: unsafe extern "C" fn(*mut BioMethod, Read) -> c_int,
    pub(super) method_write: unsafe extern "C" fn(*mut BioMethod, Write) -> c_int,
    pub(super) method_control: unsafe extern "C" fn(*mut BioMethod, Control) -> c_int,
    pub(super) method_destroy: unsafe extern "C" fn(*mut BioMethod, Destroy) -> c_int,
    pub(super) new_bio: unsafe extern "C" fn(*const BioMethod) -> *mut Bio,
    pub(super) set_data: unsafe extern "C" fn(*mut Bio, *mut c_void),
    pub(super) data: unsafe extern "C" fn(*mut Bio) -> *mut c_void,
    pub(super) set_initialised: unsafe extern "C" fn(*mut Bio, c_int),
    pub(super) set_flags: unsafe extern "C" fn(*mut Bio, c_int),
    pub(super) clear_flags: unsafe extern "C" fn(*mut Bio, c_int),
}

impl OpenSsl {
    pub(super) fn found() -> Option<&'static Self> {
        static TABLE: OnceLock<OpenSsl> = OnceLock::new();
        Some(TABLE.get_or_init(|| Self {
            bio_type,
            new_method,
            method_read,
            method_write,
            method_control,
            method_destroy,
            new_bio,
            set_data,
            data,
            set_initialised,
            set_flags,
            clear_flags,
        }))
    }
}

unsafe extern "C" fn bio_type() -> c_int {
    100
}

unsafe extern "C" fn new_method(_kind: c_int, _name: *const c_char) -> *mut BioMethod {
    Box::into_raw(Box::default())
}

/// Declares functions that store an argument in an object that the caller knows to be alive.
macro_rules! setters {
    ($($name:ident($object:ty, $value:ty) $(-> $result:ident)?: $store:expr;)*) => {
        $(
            unsafe extern "C" fn $name(object: *mut $object, value: $value) $(-> $result)? {
                // SAFETY: alive, as the caller guarantees.
                let object = unsafe { &*object };
                let store: fn(&$object, $value) = $store;
                store(object, value);
                $(1 as $result)?
            }
        )*
    };
}

setters! {
    method_read(BioMethod, Read) -> c_int: |method, read| method.read.set(Some(read));
    method_write(BioMethod, Write) -> c_int: |method, write| method.write.set(Some(write));
    method_control(BioMethod, Control) -> c_int: |method, control| method.control.set(Some(control));
    method_destroy(BioMethod, Destroy) -> c_int: |method, destroy| method.destroy.set(Some(destroy));
    set_data(Bio, *mut c_void): |bio, data| bio.data.set(data);
    set_initialised(Bio, c_int): |bio, value| bio.is_initialised.set(value != 0);
    set_flags(Bio, c_int): |bio, flags| bio.flags.set(bio.flags.get() | flags);
    clear_flags(Bio, c_int): |bio, flags| bio.flags.set(bio.flags.get() & !flags);
}

unsafe extern "C" fn new_bio(method: *const BioMethod) -> *mut Bio {
    Box::into_raw(Box::new(Bio {
        method,
        data: Cell::default(),
        is_initialised: Cell::default(),
        flags: Cell::default(),
    }))
}

unsafe extern "C" fn data(bio: *mut Bio) -> *mut c_void {
    // SAFETY: alive, as the caller guarantees.
    unsafe { (*bio).data.get() }
}
