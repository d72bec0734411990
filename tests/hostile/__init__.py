"""What must not end a process or a loop, nor lose a byte: each on asyncio and on ours."""
