"""How the bundled networks were made, and what they are worth on other images."""
