"""Random programs: the same observable order on both loops."""
