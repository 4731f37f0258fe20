"""Writes the report of all studies: one page that stands alone."""
