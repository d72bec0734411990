"""Datagram endpoints, on every family that has them."""
