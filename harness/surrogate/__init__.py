"""The attacker's own copy of what is served, with gradients."""
