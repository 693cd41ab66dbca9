"""diffusers' schedulers as solvers, and solvers as a scheduler of diffusers."""
