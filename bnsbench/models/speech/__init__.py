"""Spoken words as log-mel spectrograms: the corpus, the networks, the text-to-audio model and how it is trained."""
