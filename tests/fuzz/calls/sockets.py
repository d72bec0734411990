"""The loop's calls on sockets."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker("sockets()", left="sock", right="sock", weight=3),
    maker("tcp_sockets()", left="sock", right="sock", listener="listener", weight=3),
    *calls(
        "loop.sock_sendall({socket}, {buffer})",
        "loop.sock_recv({socket}, {limit})",
        "loop.sock_recv_into({socket}, {buffer})",
        weight=10,
    ),
    *calls(
        "loop.sock_recvfrom({socket}, {limit})",
        "loop.sock_recvfrom_into({socket}, {buffer}[, {limit}])",
        "loop.sock_sendto({socket}, {buffer}, {address})",
        "loop.sock_accept({socket})",
        "loop.sock_accept({listener})",
        "loop.sock_connect({freshsocket}, {address})",
        "loop.sock_connect({freshsocket}, {listener}.getsockname())",
        "loop.sock_connect({socket}, {address})",
        "loop.sock_recv({any}, {any})",
        "loop.sock_recv()",
        "loop.sock_sendall({any}, {any})",
        "{sock}.send({buffer})",
        "{sock}.shutdown({number})",
        "asyncio.wait_for(loop.sock_recv({sock}, {limit}), {delay})",
        "asyncio.ensure_future(loop.sock_recv({sock}, {limit}), loop=loop).cancel()",
    ),
    *calls(
        "loop.sock_sendfile({socket}, {file}[, {limit}][, {limit}][, fallback={bool}])",
        waits=True,
    ),
    *calls("{sock}.close()", "{sock}.detach()", "{listener}.close()", weight=1, wild=True),
    *calls(
        "loop.sock_recv({sock}, {limit}).send({any})",
        "loop.sock_recv({sock}, {limit}).throw({exception})",
        "loop.sock_recv({sock}, {limit}).close()",
        weight=2,
    ),
)
