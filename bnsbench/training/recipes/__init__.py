"""Whole trainings, as papers describe them and as bnsbench does by default."""
