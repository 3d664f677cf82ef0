"""BGP: what is rendered, with BIRD, FRR and GoBGP as judges; and how it goes between hosts, with all three as peers."""
