"""The report of all studies: one page that stands alone."""
