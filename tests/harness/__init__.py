"""What the suites share: a running hub, raw requests, a byte counter, and drivers of real clients."""
