"""Pipe transports."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker("pipes({plain}, {plain})", waits=True, reading="readpipe", writing="writepipe", weight=4),
    *calls("{writepipe}.write({buffer})", weight=16),
    *calls(
        "{writepipe}.writelines({buffers})",
        "{writepipe}.write_eof()",
        "{writepipe}.close()",
        "{writepipe}.abort()",
        "{readpipe}.close()",
        "{readpipe}.pause_reading()",
        "{readpipe}.resume_reading()",
    ),
    *calls(
        "{writepipe}.can_write_eof()",
        "{writepipe}.is_closing()",
        "{writepipe}.get_write_buffer_size()",
        "{writepipe}.get_write_buffer_limits()",
        "{writepipe}.set_write_buffer_limits({limit}[, {limit}])",
        "{writepipe}.get_extra_info({fact}[, {any}])",
        "{writepipe}.get_protocol()",
        "{writepipe}.set_protocol({protocol})",
        "{readpipe}.set_protocol({plain})",
        "{readpipe}.get_protocol()",
        "{readpipe}.get_extra_info({fact}[, {any}])",
        "{readpipe}.is_closing()",
        "repr({readpipe})",
        "repr({writepipe})",
    ),
    *calls(
        "loop.connect_read_pipe({factory}, {pipe})",
        "loop.connect_write_pipe({factory}, {pipe})",
        waits=True,
        weight=6,
    ),
)
