"""Configs: composed by Hydra, checked against constructor signatures, built."""
