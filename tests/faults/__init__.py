"""Faults planted in a deployment that runs; a package, so that the deployment ends with its last test."""
