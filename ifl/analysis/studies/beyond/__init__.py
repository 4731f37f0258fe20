"""Studies of what goes beyond the paper: methods on equal terms, fewer bytes, ingredients."""
