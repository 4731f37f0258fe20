"""Faults: kills, hostile bytes, long runs, and the cost of checkpoints."""
