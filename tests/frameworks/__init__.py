"""Web frameworks end to end: the programs that a loop is for."""
