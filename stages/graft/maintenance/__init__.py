"""Care of what was made: verify it, rebuild it, remove what is no longer used."""
