"""Files that are written whole or not at all, tensors with a hash of their content, and plain data."""
