"""Two emulated boxes on one LAN: what `image/emulate` is made of."""
