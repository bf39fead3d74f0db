//! Bad input: what is wrong, used, ended, cut, foreign or in use is refused with a clear error, and nothing is lost.
