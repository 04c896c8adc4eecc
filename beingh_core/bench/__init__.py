"""Measurements of the software on the machine at hand."""
