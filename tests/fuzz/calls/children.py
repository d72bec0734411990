"""Child processes. Each takes milliseconds, so there are few."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker("child({command})", child="child", waits=True, weight=2),
    *calls(
        "loop.subprocess_exec({factory}, {any}[, stdin={any}][, stdout={any}][, shell={any}])",
        "loop.subprocess_exec({factory}, 'true', {any}[, bufsize={number}])",
        "loop.subprocess_shell({factory}, {any})",
        "loop.subprocess_shell({factory}, {command}[, universal_newlines={any}])",
        waits=True,
        weight=2,
    ),
    *calls(
        "{child}.get_pid()",
        "{child}.get_returncode()",
        "{child}.get_pipe_transport({number})",
        "{child}.kill()",
        "{child}.terminate()",
        "{child}.send_signal({childsignal})",
        "{child}.close()",
        "{child}.is_closing()",
        "{child}.get_protocol()",
        "{child}.set_protocol({protocol})",
        "{child}.get_extra_info({fact})",
        "{child}.get_pipe_transport(0).write({buffer})",
        "{child}.get_pipe_transport(0).close()",
        "repr({child})",
    ),
)
