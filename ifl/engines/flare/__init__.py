"""Parties that a server reaches through NVIDIA FLARE, which carries their connections.

A vendor's own process calls a Unix socket on its machine. What stands behind it, in the client of a
FLARE job, passes the bytes of each connection on in FLARE's messages, and the job at the server
passes them to ``ifl server`` beside it. TLS is between the two ends, as without FLARE: what FLARE
carries, logs and may filter is encrypted, and no torch and no network is in its processes.

``engine`` runs a federation on this machine that way.
"""
