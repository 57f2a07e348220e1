"""The same model and defence in other serving frameworks, each set up as its own guide says.

Each framework runs one process on each core, with one inference thread. No framework batches, and
neither does warpguard, because on a CPU a batch takes as long as its images one by one.
"""
