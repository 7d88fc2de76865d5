"""Readers of public data sets: each turns a published layout into hospital folders. Nothing is downloaded."""
