"""Database clients with a real Redis and a real PostgreSQL, which the run starts and stops."""
