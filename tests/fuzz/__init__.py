"""A seeded fuzzer of the whole public API, with asyncio as the reference.

`python -m tests.fuzz --seed 1 --runs 100` generates a hundred programs of some dozens of calls each
and runs each on asyncio and on yamanote. `program` defines a program; `calls`, `pools` and `values`
define its parts; `compare` defines which results are failures.
"""
