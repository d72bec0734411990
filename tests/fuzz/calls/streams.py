"""asyncio's streams."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker(
        "streams([{limit}])",
        waits=True,
        reader="reader",
        writer="writer",
        peer_reader="reader",
        peer_writer="writer",
        client="stream",
        peer="stream",
        weight=4,
    ),
    *calls("{writer}.write({buffer})", weight=16),
    *calls(
        "{reader}.read([{limit}])",
        "{reader}.readline()",
        "{reader}.readexactly({limit})",
        "{reader}.readuntil([{buffer}])",
        "{writer}.writelines({buffers})",
        "{writer}.drain()",
        "{writer}.close()",
        "{writer}.write_eof()",
        "{writer}.wait_closed()",
        weight=5,
    ),
    *calls(
        "{reader}.at_eof()",
        "{reader}.exception()",
        "{reader}.feed_data({buffer})",
        "{reader}.feed_eof()",
        "{reader}.set_exception({exception})",
        "repr({reader})",
        "repr({writer})",
        "{writer}.can_write_eof()",
        "{writer}.is_closing()",
        "{writer}.get_extra_info({fact}[, {any}])",
        "{writer}.transport.set_write_buffer_limits({limit})",
        "asyncio.StreamReader({limit}, loop)",
        weight=3,
    ),
    *calls(
        "asyncio.start_server({callback}, {host}, {freeport}[, limit={limit}])",
        "asyncio.open_connection({host}, {port}[, limit={limit}])",
        weight=2,
        waits=True,
    ),
)
