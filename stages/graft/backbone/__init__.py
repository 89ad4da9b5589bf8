"""Pretrained networks: found, built, cut at a layer, and run on images to give features."""
