"""Datagram endpoints."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker(
        "datagrams({datagramming}, {datagramming})",
        waits=True,
        client="connected_datagram",
        peer="datagram",
        address="bound",
        weight=4,
    ),
    *calls("{connected_datagram}.sendto({buffer}[, {address}])", weight=16),
    *calls("{datagram}.sendto({buffer}, {address})", weight=8),
    *calls(
        "{datagram}.sendto({buffer}, {bound})",
        "{datagram}.close()",
        "{connected_datagram}.close()",
        "{datagram}.abort()",
        "{connected_datagram}.abort()",
        weight=4,
    ),
    *calls(
        "{datagram}.is_closing()",
        "{datagram}.get_extra_info({fact}[, {any}])",
        "{datagram}.get_protocol()",
        "{datagram}.set_protocol({datagramming})",
        "{datagram}.set_write_buffer_limits({limit}[, {limit}])",
        "{datagram}.get_write_buffer_size()",
        "{datagram}.get_write_buffer_limits()",
        "repr({datagram})",
    ),
    *calls(
        "loop.create_datagram_endpoint({factory}[, local_addr={address}][, remote_addr={address}]"
        "[, family={number}][, proto={number}][, flags={number}][, reuse_port={bool}]"
        "[, allow_broadcast={bool}][, sock={datagramsocket}])",
        "loop.create_datagram_endpoint({factory}, sock={datagramsocket})",
        waits=True,
        weight=6,
    ),
)
