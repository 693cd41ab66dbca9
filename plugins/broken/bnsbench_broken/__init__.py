"""Plugins with one deliberate fault each."""
