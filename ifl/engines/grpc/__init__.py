"""Parties that a server reaches over gRPC with mutual TLS: one bidirectional stream each.

A party calls, the server listens. From then on the server asks and the party answers, a frame at a
time (``ifl.engines.frames``), numbered, so that a stream that breaks is replaced by another one and
nothing is done twice. Who a party is says its certificate, and nothing else. What comes over the
network is plain JSON and bytes; nothing of it is unpickled.

``engine`` runs a federation on this machine that way; ``ifl.vendors`` one among machines.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would say of others, the door says
