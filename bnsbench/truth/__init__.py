"""Noise, the ground truth that it leads to, pairs of both with their cache, and the PSNR between samples and truth."""
