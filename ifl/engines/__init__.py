"""Engines: where the parties of a federation live, and how the server's packets reach them."""
