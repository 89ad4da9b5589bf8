"""Generated images: the metal plates of the default run."""
