"""AIHub's container images: a folder for each with its Dockerfile, and the program that builds them."""
