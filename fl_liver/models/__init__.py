"""The published systems, one a file; torch only."""
