"""Which images are worked on, when, and for how long."""
