"""How bytes come from each kind of server; `open_remote` chooses."""
