"""Other projects' own test suites, run on asyncio and on yamanote, and compared test by test.

See `python -m tests.ecosystem --help` for how to run some of them; README.md has the table.
"""
