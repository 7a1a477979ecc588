"""An HTTP server that answers ranges as it should, or fails in the way that it is told.

It serves in threads of its own process (`served`), so that a reader and its server do not share an interpreter;
`Web` speaks to it: what it was asked, how it shall behave.
"""
