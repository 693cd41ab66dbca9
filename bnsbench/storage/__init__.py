"""Files that are whole or absent, tensors that prove themselves, and plain data."""
