"""What training costs and what it brings: `python -m tests.benchmarks.training TABLE --output results/training`."""
