"""Captioned 32x32 scenes: the renderer, the networks, the text-to-image model and how it is trained."""
