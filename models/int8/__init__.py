"""Graphs in INT8: their ranges, the graphs, and whether they pay.

photographs ──► calibrate ──► ranges ──► qdq ──► graph in INT8 ──► gate ──► store
"""
