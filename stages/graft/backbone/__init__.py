"""Pretrained networks, which are downloaded, built, cut at a layer, and run on images to give features."""
