"""One module for each picture of the guides; `guide_pictures.py` calls their `draw`."""
