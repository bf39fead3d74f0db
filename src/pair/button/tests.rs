//! Boxes with buttons against each other.
