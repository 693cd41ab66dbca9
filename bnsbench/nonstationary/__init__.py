"""Non-stationary solvers: the table of numbers that is a solver, the engine that runs it, tracing into it, and its file."""
