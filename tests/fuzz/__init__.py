"""A seeded fuzzer of the whole public API, which asks asyncio what is right.

`python -m tests.fuzz --seed 1 --runs 100` makes a hundred programs of some dozens of calls each and
runs each on asyncio and on yamanote. What a program is stands in `program`, what it is made from in
`calls`, `pools` and `values`, what a run of it must not do in `compare`.
"""
