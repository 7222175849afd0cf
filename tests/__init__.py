"""The tests, in rooms by what they need: nothing but Python first."""
