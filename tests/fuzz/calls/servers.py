"""Creating servers and connections, with valid and invalid arguments."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

_TLS = "[, ssl={ssl}][, ssl_handshake_timeout={delay}][, ssl_shutdown_timeout={delay}]"

CALLS = (
    maker(
        "loop.create_server({factory}, {host}, {freeport}[, family={number}][, flags={number}]"
        f"[, backlog={{number}}]{_TLS}[, reuse_address={{any}}][, reuse_port={{any}}]"
        "[, start_serving={bool}])",
        "server",
        waits=True,
        weight=8,
    ),
    maker(
        f"loop.create_server({{factory}}, sock={{listening}}[, backlog={{number}}]{_TLS})",
        "server",
        waits=True,
        weight=6,
    ),
    maker(
        "loop.create_unix_server({factory}, {path}[, backlog={number}][, ssl={ssl}])",
        "server",
        waits=True,
    ),
    *calls(
        "loop.create_connection({factory}, {host}, {port}[, family={number}][, proto={number}]"
        f"[, flags={{number}}][, local_addr={{address}}]{_TLS}[, server_hostname={{host}}]"
        "[, happy_eyeballs_delay={delay}][, interleave={number}][, all_errors={any}])",
        f"loop.create_connection({{factory}}, sock={{connected}}{_TLS}"
        "[, server_hostname={host}])",
        "loop.create_unix_connection({factory}, {path}[, ssl={ssl}][, server_hostname={host}])",
        f"loop.connect_accepted_socket({{factory}}, {{connected}}{_TLS})",
        "loop.create_server({factory}, {host}, {freeport}, sock={listening})",
        "loop.create_server({factory})",
        "loop.create_connection({factory})",
        weight=6,
        waits=True,
    ),
    *calls(
        "{server}.close()",
        "{server}.is_serving()",
        "{server}.sockets",
        "{server}.get_loop()",
        "{server}.close_clients()",
        "{server}.abort_clients()",
        "{server}.start_serving()",
        "{server}.wait_closed()",
        "repr({server})",
        weight=3,
    ),
)
