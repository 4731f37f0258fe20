"""Benchmarks: rounds against a plain loop, each change against its lack, peers, many clients."""
