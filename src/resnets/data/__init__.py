"""Data: from what the user names to decoded images."""
