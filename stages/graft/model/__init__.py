"""A classifier put together: backbone, head and decision rule; it predicts, is exported and served."""
