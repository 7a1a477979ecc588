"""From the bytes of one tile or strip to an array; from stored samples to grey or RGB."""
