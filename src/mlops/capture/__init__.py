"""Captured traffic: from log events to objects by model and hour, and back to typed lines."""
