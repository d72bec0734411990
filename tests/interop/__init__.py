"""Rust futures of a separately compiled extension, on both loops."""
