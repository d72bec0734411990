"""Clients of real databases: a Redis and a PostgreSQL that the run starts and stops itself."""
