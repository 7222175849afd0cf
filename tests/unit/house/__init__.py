"""Rules of the house: how the code is built, and what holds everywhere."""
