"""Sources of labelled images, the manifest that lists them, and the splits."""
