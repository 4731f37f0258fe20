"""IFL: communication-efficient, interoperable distributed learning, measured in bytes.

Krouka & Bennis 2025, "Communication-Efficient and Interoperable Distributed Learning",
arXiv 2509.22823.
"""

__version__ = "0.1.0"
