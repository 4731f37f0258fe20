"""Attacks on what clients upload."""
