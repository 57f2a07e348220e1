"""API keys, and how many images each may ask for."""
