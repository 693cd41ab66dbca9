"""Metrics by networks that others have trained: CLIP, CLAP and LPIPS."""
