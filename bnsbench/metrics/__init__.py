"""Metrics of generated samples: against the ground truth of the same noise, against the data, against the conditions."""
