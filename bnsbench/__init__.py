"""bnsbench: fair comparison of ODE solvers for diffusion and flow models, and better ones trained for your own model."""

__version__ = "0.1.0"
