"""Behaviour tests run on asyncio's loop, which is the specification, and on yamanote's."""
