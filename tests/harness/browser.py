"""What tests of the pages hand around."""

from collections.abc import Callable

from playwright.sync_api import Page

Open = Callable[..., Page]
"""Opens a page of the hub: its path, and `width`, `scheme` and `script` if they matter."""
