"""One client: its training settings, steps and state, its privacy, its watch for divergence."""
