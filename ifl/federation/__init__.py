"""Builds the parties, conducts rounds, evaluates, and runs to the end."""
