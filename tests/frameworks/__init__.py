"""Web frameworks, tested end to end."""
