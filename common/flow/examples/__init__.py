"""Pipelines to try flow with; written as a user would write them, using public names only."""
