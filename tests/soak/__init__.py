"""What stays behind after many lifecycles or connections: nothing."""
