//! `capsule`: both sides of the capsule, and callers that do not keep to the header, against a list of what is alive.

mod hostile;
mod pollables;
mod service;
mod world;

use pyo3::prelude::*;

use crate::input::Input;
use world::World;

pub(crate) fn fuzz(mut input: Input<'_>) {
    let mut world = World::new();
    while let Some(step) = input.step() {
        match step % 16 {
            0 | 1 => world.spawn(&mut input),
            2 => world.spawn_raw(&mut input),
            3..=5 => world.poll(&mut input),
            6 => world.cancel(&mut input),
            7 => world.forget(&mut input),
            8 => world.hold(&mut input),
            9 => world.submit(&mut input),
            10 => world.run_calls(),
            11 => world.run_another(&mut input),
            12 if step > 240 => world.close(),
            12 | 13 => hostile::call(&world, &mut input),
            14 => hostile::table(&mut input),
            _ => world.use_waker(&mut input),
        }
        world.check();
        assert!(
            PyErr::take(Python::token()).is_none(),
            "an exception is left"
        );
    }
    world.end();
}
