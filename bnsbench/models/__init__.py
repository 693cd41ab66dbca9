"""Embedded models: small networks with their weights, exact Gaussian mixtures, and the programs that fitted them."""
