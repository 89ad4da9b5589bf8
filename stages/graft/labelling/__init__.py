"""What to label next: similarity of images, a choice that covers them, their clusters, and the files for labelling."""
