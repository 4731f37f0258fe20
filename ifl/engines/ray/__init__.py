"""Keeps parties in actors of a Ray cluster, or of Ray on this machine."""
