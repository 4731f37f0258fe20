"""The command line: the only package, with trials, that knows Hydra."""
