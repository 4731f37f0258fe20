"""One party: its training settings, its steps and state, what it hides, when it diverges."""
