"""The server of `graft serve`: a page and an interface for programs that answer images with a model."""
