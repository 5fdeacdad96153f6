"""Malicious and benign files for the scanner, with the verdict that each must get."""
