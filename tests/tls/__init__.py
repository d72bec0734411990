"""TLS, on both loops."""
