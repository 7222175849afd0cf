"""Mutants of the worker."""
