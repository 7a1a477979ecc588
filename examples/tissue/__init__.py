"""Pictures of tissue stained with haematoxylin and eosin, grown from a seed.

``plan`` says what grows where, at 1/8 of the size; ``outlines`` are the shapes of glands, fat and vessels;
``nuclei`` places and draws the cells; ``painting`` puts it together, some rows at a time.
"""
