"""CPython's own asyncio tests, run on another loop.

Nothing is copied: the tests are imported from the running interpreter's `test.test_asyncio`. See
`python -m tests.conformance --help` for how to run some of them, or all on another loop.
"""
