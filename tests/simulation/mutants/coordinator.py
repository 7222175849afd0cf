"""Mutants of the coordinator."""
