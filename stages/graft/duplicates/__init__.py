"""Near-duplicates: images that show the same thing, found by local features and confirmed on pixels."""
