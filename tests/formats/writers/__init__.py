"""Writers of fixtures, by library. Each module registers its functions when it is imported."""
