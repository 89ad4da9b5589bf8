"""Extraction, fine-tuning and prediction on this machine or on a Ray cluster; only `ray_*` modules import Ray."""
