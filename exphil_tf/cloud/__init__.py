"""Folders on object stores: copied up and down, whole or not at all. Knows no runs."""
