//! The files of `src/transports/`, and what they name.

#[path = "../../../src/transports/flow_control.rs"]
mod flow_control;
#[path = "../../../src/transports/write_buffer.rs"]
mod write_buffer;

pub(crate) mod buffered;
pub(crate) mod marks;
pub(crate) mod streams;
