"""Calls on the caller's sockets: `sock_*` and `sendfile`."""
