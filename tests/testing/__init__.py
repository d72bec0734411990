"""Tests of `yamanote.testing`."""
