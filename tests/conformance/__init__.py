"""CPython's own asyncio tests, run on another loop.

Nothing is copied: the tests are imported from the running interpreter's `test.test_asyncio`.
`python -m tests.conformance --help` says how to run a few of them, or all of them on another loop.
"""
