"""Recipes of docs/how-to/recipes.md: each is run, with its package or a stand-in of the same interface."""
