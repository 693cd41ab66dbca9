"""Training of non-stationary solvers for a frozen model: families, objectives, optimisers, recipes."""
