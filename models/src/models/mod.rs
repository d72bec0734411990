//! The models. Each name says what must hold in every schedule.

mod alarm;
mod closing;
mod gate;
mod mailbox;
mod phases;
mod wakes;

use crate::run::Model;
use crate::scheduler::{calls, keys};

/// All of them. Without a number, every schedule runs; a number bounds those that would take hours.
pub(crate) const ALL: &[Model] = &[
    model("wakes", None, wakes::of_one_thread),
    model("wakes_of_two", Some(3), wakes::of_two_threads),
    model("closing", None, closing::lets_go_of_all),
    model("mailbox", None, mailbox::loses_nothing),
    model("mailbox_of_two", Some(2), mailbox::loses_nothing_of_two),
    model("calls", None, calls::run_or_are_dropped),
    model("keys", None, keys::find_only_their_own_source),
    model("phases", Some(3), phases::are_read_whole),
    model("alarm", Some(3), alarm::is_never_slept_through),
    model("gate", None, gate::opens_for_who_waits),
];

const fn model(name: &'static str, interruptions: Option<usize>, program: fn()) -> Model {
    Model {
        name,
        interruptions,
        program,
    }
}
