"""Sparse layers: parameters, gradients and cost follow the surviving weights."""
