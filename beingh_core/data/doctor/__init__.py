"""Looks at recorded episodes: what is in them, what is wrong with them, whether they can be used."""
