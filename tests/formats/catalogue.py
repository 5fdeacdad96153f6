"""Every fixture, in the order of the table in the documentation."""
FIXTURES = []
