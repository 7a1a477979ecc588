"""Writers of test files, sound and broken, that share no code with the package under test.

- `tiff`: `Directory`, `build_tiff` and `expected_pixels`, the way in for most tests
- `svs`: an Aperio-like slide; `bif`: a Ventana slide, and what it must look like
- `broken`: a table of TIFF files that must be refused, and truncations of sound ones
- `patterns`: images to put into them; `colour`: conversion for codecs that do none
- `fields`, `directory`, `entries`, `segments`, `samples`, `compression`, `jpeg`: the parts of `tiff`
"""
