"""The same model behind the same defence in other serving frameworks, each as it documents itself.

All of them use the cores with one process each, which runs one inference thread: on a CPU a batch
takes as long as its images one by one, so none of them batches, and neither does warpguard.
"""
