"""The clinical table: read, checked, joined."""
