"""Maintenance of results and of the store: verify them, rebuild them, remove what is unused."""
