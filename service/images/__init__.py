"""Images: ``decode`` turns files into pixels within ``limits``, and ``defend`` draws for them."""
