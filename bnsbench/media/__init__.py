"""Pictures and sound, read from and written to files."""
