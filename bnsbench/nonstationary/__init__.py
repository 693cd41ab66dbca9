"""Non-stationary solvers: the table of coefficients, the engine that runs it, tracing of classic solvers, and its file."""
