"""Images and levels: a box of pixels out of the tiles it touches."""
