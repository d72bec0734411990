"""Watched descriptors, and signals."""

from __future__ import annotations

from tests.fuzz.calls.call import calls

CALLS = (
    *calls(
        "loop.add_reader({fd}, {callback}{rest})",
        "loop.add_writer({fd}, {callback}{rest})",
        "loop.remove_reader({fd})",
        "loop.remove_writer({fd})",
        weight=10,
    ),
    *calls(
        "loop.add_reader({sock}, {callback})",
        "loop.add_writer({sock}, {callback})",
        "loop.remove_reader({sock})",
        "loop.remove_writer({sock})",
        "loop.add_reader()",
        "{sock}.send({buffer})",
        "drained({sock})",
    ),
    *calls(
        "loop.add_signal_handler({signal}, {callback}{rest})",
        "loop.remove_signal_handler({signal})",
        weight=6,
    ),
    *calls("signalled({handled})", weight=6),
    *calls("{sock}.close()", "os.close({sock}.detach())", weight=2, wild=True),
)
