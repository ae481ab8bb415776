"""Protect, formal half: bound what one unit contributes, so that noise can hide it."""
