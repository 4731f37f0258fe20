"""Federations among vendors: a server that holds no network, and parties that show it none.

The server knows ``agreed.yaml`` alone. A vendor has a file of its own, which never leaves it: its
network, data, optimisers, secret seed, folder and certificates. What passes between them is what
the method sends, z and guesses of evaluations, and plain values; no network, and nothing pickled.
"""
