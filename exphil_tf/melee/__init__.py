"""Melee itself: game state types, identifier spaces and stage geometry.

Knows no file format and no model.
"""
