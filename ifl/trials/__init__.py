"""Trials of the project: attacks on privacy, benchmarks, faults."""
