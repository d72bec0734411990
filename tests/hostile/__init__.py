"""Misuse that must not end a process or a loop, nor lose data: on asyncio and on yamanote."""
