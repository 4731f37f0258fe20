"""Commands for blocks as files: export, validate, compose."""
