"""Solvers as single files for other software: each needs torch alone, and says what it is for and what it cannot do."""
