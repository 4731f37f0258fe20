"""The project put to the test: what leaks, how fast it is, what it survives."""
