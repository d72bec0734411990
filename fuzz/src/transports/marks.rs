//! `flow_control`: the water marks over a real buffer, against asyncio's transport with a `bytearray`.

use super::flow_control::{FlowControl, HIGH, Tell};
use super::write_buffer::WriteBuffer;
use crate::input::Input;

/// `_FlowControlMixin` of asyncio's `transports.py`, and `_buffer` of its selector transport.
struct Asyncio {
    buffer: usize,
    high_water: usize,
    low_water: usize,
    protocol_paused: bool,
    calls: Vec<Tell>,
}

impl Asyncio {
    fn set_write_buffer_limits(&mut self, high: usize, low: usize) {
        (self.high_water, self.low_water) = (high, low);
        self.maybe_pause_protocol(self.high_water);
    }

    /// `high` is ours: under pressure there is no room at all.
    fn maybe_pause_protocol(&mut self, high: usize) {
        if self.buffer <= high {
            return;
        }
        if !self.protocol_paused {
            self.protocol_paused = true;
            self.calls.push(Tell::Pause);
        }
    }

    fn maybe_resume_protocol(&mut self) {
        if self.protocol_paused && self.buffer <= self.low_water {
            self.protocol_paused = false;
            self.calls.push(Tell::Resume);
        }
    }
}

pub(crate) fn fuzz(mut input: Input<'_>) {
    let mut asyncio = Asyncio {
        buffer: 0,
        high_water: 64 * 1024,
        low_water: 16 * 1024,
        protocol_paused: false,
        calls: Vec::new(),
    };
    assert_eq!(HIGH, asyncio.high_water);
    let (mut flow, mut buffer) = (FlowControl::new(), WriteBuffer::<Vec<u8>>::new());
    let mut calls = Vec::new();
    while let Some(step) = input.step() {
        match step % 5 {
            0 | 1 => {
                let (size, is_pressed) = (input.size(17), step >= 200);
                buffer.push_copy(&vec![0; size]).expect("there is memory");
                calls.extend(flow.grown(buffer.len(), is_pressed));
                asyncio.buffer += size;
                asyncio.maybe_pause_protocol(if is_pressed { 0 } else { asyncio.high_water });
            }
            2 => {
                let count = input.size(18).min(asyncio.buffer);
                buffer.advance(count);
                calls.extend(flow.shrunk(buffer.len()));
                asyncio.buffer -= count;
                asyncio.maybe_resume_protocol();
            }
            3 => {
                let (one, two) = (input.size(18), input.size(18));
                let (high, low) = (one.max(two), one.min(two));
                flow.set(high, low);
                calls.extend(flow.grown(buffer.len(), false));
                asyncio.set_write_buffer_limits(high, low);
            }
            _ => {
                // What `Flow::strain` does: only where the protocol is not paused.
                if !flow.is_paused() {
                    flow.pause();
                    calls.push(Tell::Pause);
                    asyncio.protocol_paused = true;
                    asyncio.calls.push(Tell::Pause);
                }
            }
        }
        assert_eq!(calls, asyncio.calls);
        assert_eq!(flow.is_paused(), asyncio.protocol_paused);
        assert_eq!(
            (flow.high(), flow.low()),
            (asyncio.high_water, asyncio.low_water)
        );
        if buffer.len() > 1 << 18 || calls.len() > 64 {
            break;
        }
    }
    let alternating = [Tell::Pause, Tell::Resume].into_iter().cycle();
    assert!(
        calls
            .into_iter()
            .zip(alternating)
            .all(|(call, expected)| call == expected)
    );
}
