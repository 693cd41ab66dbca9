"""Paths, predictions, velocity fields with guidance and counting, noise streams and ground truth."""
