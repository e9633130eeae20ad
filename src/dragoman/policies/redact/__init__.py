"""Personal data and secrets: finding them in any text, and what is done with them."""
