"""Files of the original programs: read, written, and refused."""
