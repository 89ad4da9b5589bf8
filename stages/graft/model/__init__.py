"""The classifier: backbone, head and decision rule, which are bundled, exported and served."""
