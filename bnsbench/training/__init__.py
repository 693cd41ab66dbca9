"""Training of NS tables for a frozen model: parameters, rollout, greedy start, Gauss-Newton, the paper's recipe."""
