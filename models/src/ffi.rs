//! Stand-ins for Python.

pub(crate) mod pollable {
    use std::sync::Arc;

    /// What another thread leaves for the loop: dropped or run, never lost, which a count of its owners shows.
    #[derive(Debug)]
    pub(crate) struct Completion(pub(crate) Arc<()>);
}
