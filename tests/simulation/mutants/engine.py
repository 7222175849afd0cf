"""Mutants of the engine."""
