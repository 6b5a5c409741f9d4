"""Runs inside a cell's process; the only importer of torch and alma."""
