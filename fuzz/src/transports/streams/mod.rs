//! The file of `src/transports/streams/` that looks at received bytes, and a stand-in for the reader's attributes.

mod fields;
#[path = "../../../../src/transports/streams/reading.rs"]
mod reading;

pub(crate) mod separated;
