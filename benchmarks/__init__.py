"""Speed, measured: every figure is a ratio of times taken side by side in one run."""
