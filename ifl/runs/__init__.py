"""A run on disk: identity, folder, checkpoint, lock, journal, provenance; no training code."""
