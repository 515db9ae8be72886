"""Sandboxes for model-written code: one interface, several backends. Independent of Django."""
