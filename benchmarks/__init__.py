"""Measurements that need more time, data or other programs than the tests may; see README.md."""
