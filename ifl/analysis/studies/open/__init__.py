"""Studies of what the paper leaves open."""
