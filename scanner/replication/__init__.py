"""Repeat published evaluations of detectors: prompt lists, weights, scans, one page."""
