"""Releases: which model versions serve, and how a challenger becomes champion or does not."""
