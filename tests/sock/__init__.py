"""Calls on sockets of the caller's: `sock_*` and `sendfile`."""
