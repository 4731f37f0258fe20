"""Commands for federations among vendors: server, vendor, certificates."""
