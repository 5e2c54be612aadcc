"""Weights: the model file, and networks that carry them."""
