"""Measurements, each beside a peer in the same run; they never judge."""
