//! Writing that is complete or absent.
