"""The TIFF format and nothing else: headers, fields, directories, segment tables, tiles.

Sources: TIFF Revision 6.0 (Adobe, 1992); TIFF Technical Note 2 (JPEG, 1995); Adobe PageMaker 6.0
TIFF Technical Notes (SubIFDs, 1995); Adobe Photoshop TIFF Technical Notes (predictor 3, 2005);
the BigTIFF design (Aperio and AWare Systems, 2007).
"""
