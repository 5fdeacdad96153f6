"""Hostile files, by format. Each module registers its functions when it is imported.

They do no harm where a program is careless: a pickle that is run makes an empty folder called `pwned`, a path that is
followed leads to a file that this program wrote, or to one that every system has.
"""
