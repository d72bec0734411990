"""Other projects' own test suites, run on asyncio and on yamanote, and compared test by test.

`python -m tests.ecosystem --help` says how to run a few of them; README.md has the table.
"""
