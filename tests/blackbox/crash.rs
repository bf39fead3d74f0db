//! SIGKILL in the middle of writes, by seed: what fsync returned for reads back, and the nodes agree at the end.
